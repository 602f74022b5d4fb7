//! A `zoo.cfg`, from its bytes to settings. What stands behind the first NUL is the content of every other file it
//! refers to (the dynamic configuration, myid).
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::config::{CommandLine, Given, load};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let (written, referred) = match bytes.iter().position(|byte| *byte == 0) {
        Some(nul) => (&bytes[..nul], &bytes[nul + 1..]),
        None => (bytes, &b""[..]),
    };
    let line = CommandLine { properties: Vec::new(), given: Given::File("zoo.cfg".into()) };
    let mut read = |path: &Path| {
        let content = match path == Path::new("zoo.cfg") {
            true => written,
            false => referred,
        };
        Ok(content.to_vec())
    };
    if let Err(refused) = load(&line, &mut read) {
        assert!(!refused.to_string().is_empty());
    }
});
