//! The bare log: records copied into a mapped file that has all its blocks, and one `fdatasync` after the other. No server on
//! this disk can do with less.

use crate::record;
use hdrhistogram::Histogram;
use ringkeeper::io::disk::Disk;
use ringkeeper::io::real_disk::RealDisk;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// When it is full it is written from the front again, so that no file has to be made ready meanwhile.
const FILE_BYTES: u64 = 8 << 20;
const WARM_UP_FLUSHES: u64 = 50;

pub fn run(path: &Path, batch: u64, seconds: f64) -> io::Result<()> {
    let record = record::set_data();
    let bytes = record.repeat(batch as usize);
    let _ = std::fs::remove_file(path); // left by a run that was killed
    let mut mapping = RealDisk.create_mapped(path, &[], FILE_BYTES, 0)?;
    let file = mapping.file();
    let mut offset = 0;
    let mut flush = || {
        if offset + bytes.len() as u64 > FILE_BYTES {
            offset = 0;
        }
        mapping.write(offset, &bytes)?;
        offset += bytes.len() as u64;
        file.sync()
    };
    for _ in 0..WARM_UP_FLUSHES {
        flush()?;
    }
    let mut times = Histogram::<u64>::new(3).expect("3 digits are allowed");
    let written_before = bytes_written();
    let (began, mut last) = (Instant::now(), Instant::now());
    while began.elapsed() < Duration::from_secs_f64(seconds) {
        flush()?;
        let now = Instant::now();
        times.record((now - last).as_nanos() as u64).expect("the histogram grows");
        last = now;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let written = bytes_written().zip(written_before).map(|(after, before)| after - before);
    std::fs::remove_file(path)?;
    let flushes = times.len();
    let us = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1000.0;
    let kib = written.map_or("null".to_owned(), |bytes| format!("{:.3}", bytes as f64 / 1024.0 / flushes as f64));
    println!(
        "{{\"batch\":{batch},\"record_bytes\":{},\"flushes\":{flushes},\"flushes_per_second\":{:.1},\
         \"records_per_second\":{:.1},\"kib_written_per_flush\":{kib},\
         \"flush_us\":{{\"p50\":{:.1},\"p99\":{:.1},\"p99.9\":{:.1}}}}}",
        record.len(),
        flushes as f64 / elapsed,
        flushes as f64 * batch as f64 / elapsed,
        us(0.5),
        us(0.99),
        us(0.999),
    );
    Ok(())
}

/// What the kernel counts as written to disks for this process; `None` where it does not say.
fn bytes_written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}
