//! Words of the first tm that mean nothing any more, or not yet: asked when clap refuses a line, to say what to use now.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is said of such a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What became of it.
    pub(super) text: &'static str,
    /// What to use now.
    pub(super) hint: &'static str,
}

const TASKRUN: Answer = Answer {
    text: "`tm deploy taskrun` is gone: a build is part of `tm deploy service`",
    hint: "`tm deploy service NAME -f SOURCE --runtime TASK --build-only` builds and pushes an image; for TaskRuns of your own \
           there is `kubectl create -f FILE`",
};
const PIPELINE_RESOURCE: Answer = Answer {
    text: "PipelineResources are gone, from Tekton too",
    hint: "name the repository where it is deployed: `tm deploy service NAME -f URL --revision REV` takes what --url and --rev took",
};
const CHANNEL: Answer = Answer {
    text: "tm does not look after channels",
    hint: "on a cluster with Knative Eventing: `kubectl get channel`, or `kn channel create NAME --type imc` and \
           `kn channel delete NAME`",
};
const GIT_AUTH: Answer = Answer {
    text: "`tm set git-auth` is gone: repositories are cloned by this machine's git, no key goes to the target",
    hint: "load the key into the SSH agent, or use a credential helper of git's: `tm deploy service NAME -f git@HOST:REPOSITORY.git`",
};
const GENERATE: Answer = Answer {
    text: "`tm generate` is not there yet",
    hint: "a file with a handler is enough (`tm deploy service NAME -f handler.py`); the folder `examples` of tm's repository has \
           a function for each runtime",
};
const PUSH: Answer = Answer {
    text: "`tm push` is not there yet: tm makes no CI pipelines",
    hint: "let the job of your CI run `tm deploy service NAME -f . --wait`, with a kubeconfig in TM_CONFIG",
};
const DEPLOY_MANIFEST: Answer = Answer {
    text: "`tm deploy` of a whole serverless.yaml is not there yet",
    hint: "deploy its functions one by one, as it named them: `tm deploy service SERVICE-FUNCTION -f SOURCE --runtime RUNTIME`",
};
const DELETE_MANIFEST: Answer = Answer {
    text: "`tm delete` of a whole serverless.yaml is not there yet",
    hint: "delete its services by name: `tm delete service SERVICE-FUNCTION…`",
};

/// The answer to a line that clap refused, if it is one of the first tm's.
pub(super) fn answer(error: &clap::Error, line: &[OsString]) -> Option<&'static Answer> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => match said(ContextKind::InvalidSubcommand)? {
            "taskrun" | "taskruns" => Some(&TASKRUN),
            "generate" => Some(&GENERATE),
            "push" => Some(&PUSH),
            "git-auth" => Some(&GIT_AUTH),
            noun => kind(noun),
        },
        ErrorKind::InvalidValue if said(ContextKind::InvalidArg) == Some("<KIND>") => {
            kind(said(ContextKind::InvalidValue)?)
        }
        ErrorKind::UnknownArgument => {
            let flag = said(ContextKind::InvalidArg)?;
            let ours = ["-f", "--from", "-c", "--concurrency"].contains(&flag);
            ours.then(|| manifest(line)).flatten()
        }
        _ => None,
    }
}

/// A kind of objects.
fn kind(word: &str) -> Option<&'static Answer> {
    match word {
        "channel" | "channels" => Some(&CHANNEL),
        "pipelineresource" | "pipelineresources" => Some(&PIPELINE_RESOURCE),
        _ => None,
    }
}

/// The flags of a manifest, which belonged to two verbs.
fn manifest(line: &[OsString]) -> Option<&'static Answer> {
    line.iter().find_map(|word| match word.to_str()? {
        "deploy" | "create" => Some(&DEPLOY_MANIFEST),
        "delete" => Some(&DELETE_MANIFEST),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<&'static Answer> {
        let line: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        answer(&crate::cli::parse(&line).expect_err("it is refused"), &line)
    }

    #[test]
    fn words_of_the_first_tm_are_answered() {
        for (line, wanted) in [
            ("tm deploy taskrun x -t go -f .", TASKRUN),
            ("tm create taskruns x", TASKRUN),
            ("tm -n ns deploy channel x", CHANNEL),
            ("tm deploy channels x", CHANNEL),
            ("tm list channel", CHANNEL),
            ("tm delete channel x", CHANNEL),
            ("tm deploy pipelineresource x --url https://h/r.git --rev main", PIPELINE_RESOURCE),
            ("tm get pipelineresources", PIPELINE_RESOURCE),
            ("tm describe pipelineresource x", PIPELINE_RESOURCE),
            ("tm set git-auth", GIT_AUTH),
            ("tm generate python hello", GENERATE),
            ("tm generate --python", GENERATE),
            ("tm push -t token", PUSH),
            ("tm deploy -f serverless.yaml", DEPLOY_MANIFEST),
            ("tm create --from . -c 5", DEPLOY_MANIFEST),
            ("tm deploy -c 5", DEPLOY_MANIFEST),
            ("tm delete -f serverless.yaml hello", DELETE_MANIFEST),
            ("tm delete --concurrency 2", DELETE_MANIFEST),
        ] {
            assert_eq!(of(line), Some(&wanted), "{line}");
        }
    }

    #[test]
    fn other_mistakes_are_left_to_clap() {
        for line in
            ["tm deplyo", "tm get thing", "tm get services -f x", "tm delete", "tm deploy", "tm --help"]
        {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
