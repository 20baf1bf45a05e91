//! `tm doctor`: looks at a target from the API server down to a pod that pulls what another one pushed, and says how to mend
//! what is wrong. It changes nothing that stays, but for one small image in the registry.

mod api;
mod controllers;
mod features;
mod ingress;
mod report;
mod rights;
mod roundtrip;

use anyhow::{Result, bail};

use self::report::Report;
use super::Session;
use crate::{
    cli::Doctor,
    error::{chain, next_step},
    settings::duration,
    target::{Target, connect},
};

pub(super) async fn run(args: Doctor, session: Session) -> Result<()> {
    let limit = duration("--timeout", &args.timeout)?;
    let mut report = Report::new(&session);
    let interrupt = session.interrupt.clone();
    match interrupt.guard(connect(&session.global, &session.printer)).await {
        Err(error) if interrupt.is_pressed() => return Err(error),
        Err(error) => report.failed("target", &chain(&error), next_step(&error)),
        Ok(target) => {
            let looks = async {
                look(&mut report, &target).await;
                Ok(())
            };
            interrupt.guard(looks).await?;
            if !args.no_pods && report.may_run_pods() {
                // Removes what it made, so it is told of Ctrl-C instead of being dropped.
                roundtrip::check(&mut report, &target, &session, limit).await?;
            }
        }
    }
    let failed = report.finish()?;
    if failed > 0 {
        bail!("{failed} of the checks failed");
    }
    Ok(())
}

/// The looks that change nothing. One that cannot be made is a finding, and the others are made all the same.
async fn look(report: &mut Report, target: &Target) {
    let usable = match api::check(report, target).await {
        Ok(usable) => usable,
        Err(error) => {
            report.cannot("API server", Err(error));
            true
        }
    };
    if !usable {
        return;
    }
    let looked = rights::check(report, target).await;
    report.cannot("rights", looked);
    let looked = controllers::check(report, target).await;
    report.cannot("controllers", looked);
    let looked = ingress::check(report, target).await;
    report.cannot("ingress", looked);
    let looked = features::check(report, target).await;
    report.cannot("flags", looked);
}
