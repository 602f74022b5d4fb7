//! One file per operation: the checks that come before its transaction, and the change the transaction makes.
//! Errors are reported in the order of the client-protocol sheet's §11: the first check that fails names the code.

pub(super) mod check;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod multi;
pub(super) mod reconfig;
pub(super) mod session;
pub(super) mod set_acl;
pub(super) mod set_data;

use crate::types::{ErrorCode, path};

/// The path of an operation on an existing znode; null and illegal ones are bad arguments.
fn legal_path(path: Option<String>) -> Result<String, ErrorCode> {
    let path = path.ok_or(ErrorCode::BadArguments)?;
    match path::validate(&path) {
        Ok(()) => Ok(path),
        Err(_) => Err(ErrorCode::BadArguments),
    }
}

/// All that create and delete ask of a path before they look at the tree. Java meets a null one unprepared.
fn rough_path(path: Option<String>) -> Result<String, ErrorCode> {
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    if !path.contains('/') || path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    Ok(path)
}
