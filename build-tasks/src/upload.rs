//! The source on its way into the pod: `receive` waits in the step, `unpack` is started beside it by exec.
//!
//! The two meet in a state folder: `done.json` appears there last, by rename, once the source is complete and checked.
//! A broken upload leaves nothing behind that a second one could trip over.

mod input;
mod receive;
mod state;
mod unpack;

pub(crate) use receive::receive;
pub(crate) use unpack::unpack;
