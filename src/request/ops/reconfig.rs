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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::WriteOp;
    use crate::request::testbed::Testbed;

    #[test]
    fn there_is_nothing_to_reconfigure() {
        let mut bed = Testbed::default();
        let op = WriteOp::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 };
        bed.refusal = Some(ErrorCode::SessionExpired);
        assert_eq!(bed.run(op.clone()), Err(ErrorCode::ReconfigDisabled));
        bed.rules.reconfig_enabled = true;
        assert_eq!(bed.run(op.clone()), Err(ErrorCode::SessionExpired));
        bed.refusal = None;
        assert_eq!(bed.run(op), Err(ErrorCode::Unimplemented));
    }
}
