//! reconfig, as a server without an ensemble answers it.

use crate::message::TxnBody;
use crate::request::prepare::Context;
use crate::types::ErrorCode;

/// There is no membership to change: refused, by the reason that comes first.
pub(in crate::request) fn prepare_standalone(context: &Context<'_>) -> Result<TxnBody, ErrorCode> {
    if !context.rules.reconfig_enabled {
        return Err(ErrorCode::ReconfigDisabled);
    }
    context.check_session()?;
    Err(ErrorCode::Unimplemented)
}
