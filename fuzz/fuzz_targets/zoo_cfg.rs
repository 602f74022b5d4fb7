//! A `zoo.cfg`, from its bytes to settings. What stands behind the first NUL is the content of every other file it
//! refers to (the dynamic configuration, myid). It is also rewritten as a reconfiguration does it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::config::{CommandLine, Given, load, parse_zoo_cfg, static_text_for};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let (written, referred) = match bytes.iter().position(|byte| *byte == 0) {
        Some(nul) => (&bytes[..nul], &bytes[nul + 1..]),
        None => (bytes, &b""[..]),
    };
    if let Ok(text) = static_text_for(written, "/zoo.cfg.dynamic.1", false) {
        // What a reconfiguration makes of it says the same, but for the members.
        let rewritten = parse_zoo_cfg(text.as_bytes()).expect("it was written to be read");
        let named = rewritten.iter().find(|entry| entry.key == "dynamicConfigFile");
        assert!(named.is_some_and(|entry| entry.value == "/zoo.cfg.dynamic.1"));
        let original = parse_zoo_cfg(written).expect("it could be rewritten");
        for entry in rewritten.iter().filter(|entry| entry.key != "dynamicConfigFile") {
            assert!(original.iter().any(|other| (&other.key, &other.value) == (&entry.key, &entry.value)));
        }
    }
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
