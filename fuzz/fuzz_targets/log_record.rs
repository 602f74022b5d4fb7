//! A log entry, and the same bytes as a log file. What decodes must survive being written again, and a file with
//! exactly that record must be read as exactly that record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::storage::txnlog_format::{FileHeader, Stop, fuzz_log_entry, fuzz_log_file, push_record};
use ringkeeper::wire::txn;
use zerocopy::IntoBytes;

fuzz_target!(|bytes: &[u8]| {
    fuzz_log_file(bytes);
    let Ok(txn) = fuzz_log_entry(bytes) else {
        return;
    };
    let mut entry = Vec::new();
    txn::encode(&txn.header, &txn.body, txn.digest.as_ref(), &mut entry);
    assert_eq!(fuzz_log_entry(&entry).as_ref(), Ok(&txn));
    let mut file = FileHeader::OURS.as_bytes().to_vec();
    push_record(&mut file, &entry);
    let (zxids, stop) = fuzz_log_file(&file);
    assert_eq!((zxids, stop), (vec![txn.header.zxid], Some(Stop::EndOfFile)));
});
