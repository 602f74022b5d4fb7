//! The simulated disk itself: it must lose what a disk may lose, keep what it must keep, and fail when it is told to.

use super::disk::{Fault, SimDisk};
use crate::io::disk::{Disk, SyncTarget};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/d";

fn new(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(seed);
    disk.create_directory(Path::new(DIR));
    let mount = disk.mount();
    (disk, mount)
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

#[test]
fn synced_bytes_and_names_survive_every_crash() {
    for seed in 0..500 {
        let (disk, mount) = new(seed);
        let file = mount.create(&path("a")).unwrap();
        file.write_all_at(&[7; 3000], 0).unwrap();
        file.sync().unwrap();
        mount.sync_directory(Path::new(DIR)).unwrap();
        file.write_all_at(&[8; 1000], 3000).unwrap();
        disk.crash();
        let contents = disk.contents(&path("a")).unwrap();
        assert_eq!(contents[..3000], [7; 3000]);
        assert!(contents.len() == 3000 || contents.len() == 4000);
        assert!(contents[3000..].iter().all(|byte| *byte == 0 || *byte == 8));
    }
}

/// Three sectors, written twice: each may be of any age, whatever the others are.
#[test]
fn every_mix_of_sectors_comes_about() {
    let mut seen = BTreeSet::new();
    for seed in 0..3000 {
        let (disk, mount) = new(seed);
        disk.lay(&path("a"), vec![0; 1536]);
        let file = mount.open_writable(&path("a")).unwrap();
        file.write_all_at(&[1; 1536], 0).unwrap();
        file.write_all_at(&[2; 1536], 0).unwrap();
        disk.crash();
        let contents = disk.contents(&path("a")).unwrap();
        assert!(contents.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a torn sector");
        seen.insert([contents[0], contents[512], contents[1024]]);
    }
    assert_eq!(seen.len(), 27);
}

#[test]
fn any_change_of_names_that_was_not_synced_may_be_lost_but_a_rename_is_whole() {
    let mut seen = BTreeSet::new();
    for seed in 0..2000 {
        let (disk, mount) = new(seed);
        disk.lay(&path("old"), b"old".to_vec());
        disk.lay(&path("gone"), b"gone".to_vec());
        mount.rename(&path("old"), &path("new")).unwrap();
        mount.remove(&path("gone")).unwrap();
        mount.create(&path("made")).unwrap();
        disk.crash();
        let there = |name| disk.contents(&path(name)).is_some();
        assert!(there("old") != there("new"));
        seen.insert((there("new"), there("gone"), there("made")));
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_flush_covers_what_was_written_before_it_began_and_ends_when_it_is_told() {
    for seed in 0..200 {
        let (disk, mount) = new(seed);
        let mut mapping = mount.create_mapped(&path("a"), b"head", 4096, 0).unwrap();
        mount.sync_directory(Path::new(DIR)).unwrap();
        mapping.write(512, &[1; 512]).unwrap();
        let target: Arc<dyn SyncTarget> = mapping.file();
        let sync = disk.start_sync(&[target]);
        mapping.write(1024, &[2; 512]).unwrap();
        assert_eq!(disk.syncs_under_way(), [sync]);
        disk.finish_sync(sync).unwrap();
        disk.crash();
        let contents = disk.contents(&path("a")).unwrap();
        assert_eq!((&contents[..4], contents[512], contents.len()), (&b"head"[..], 1, 4096));
        assert!([0, 2].contains(&contents[1024]));
        assert!(disk.finish_sync(sync).is_err(), "of a life gone by");
    }
}

#[test]
fn after_a_failed_sync_no_later_one_helps() {
    let mut lost = 0;
    for seed in 0..200 {
        let (disk, mount) = new(seed);
        disk.lay(&path("a"), vec![0; 1024]);
        let file = mount.open_writable(&path("a")).unwrap();
        file.write_all_at(&[1; 512], 0).unwrap();
        disk.plan(Fault::Sync, 0);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
        file.write_all_at(&[2; 512], 512).unwrap();
        file.sync().unwrap();
        disk.crash();
        let contents = disk.contents(&path("a")).unwrap();
        assert_eq!(contents[512], 2);
        lost += u64::from(contents[0] == 0);
    }
    assert!((1..200).contains(&lost));
}

#[test]
fn zeros_behind_a_cut_may_outlive_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let (disk, mount) = new(seed);
        disk.lay(&path("a"), vec![1; 10_000]);
        mount.open_writable(&path("a")).unwrap().set_bytes(100).unwrap();
        disk.crash();
        let contents = disk.contents(&path("a")).unwrap();
        assert!(contents[..100].iter().all(|byte| *byte == 1));
        if contents.len() == 10_000 {
            assert!(contents[4096..].iter().all(|byte| *byte == 1));
        }
        seen.insert((contents.len(), contents.get(200).copied()));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(100, None), (10_000, Some(0)), (10_000, Some(1))]);
}

#[test]
fn a_killed_process_leaves_the_cache_and_dead_handles() {
    let (disk, mount) = new(1);
    let file = mount.create(&path("a")).unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    let target: Arc<dyn SyncTarget> = file.clone();
    let sync = disk.start_sync(&[target]);
    disk.kill();
    assert!(file.write_all_at(b"dead", 0).is_err() && file.sync().is_err() && mount.names(Path::new(DIR)).is_err());
    assert!(disk.finish_sync(sync).is_err());
    assert_eq!(disk.contents(&path("a")).unwrap(), b"kept");
    assert!(disk.mount().open(&path("a")).is_ok());
}

#[test]
fn a_power_cut_strikes_at_the_operation_it_is_planned_for() {
    let (disk, mount) = new(1);
    disk.plan(Fault::PowerCut, 2);
    let file = mount.create(&path("a")).unwrap();
    file.write_all_at(b"1", 0).unwrap();
    assert_eq!(file.bytes().unwrap(), 1, "reading changes nothing");
    assert!(file.write_all_at(b"2", 0).is_err());
    assert!(!disk.is_powered());
    assert!(file.bytes().is_err() && disk.mount().names(Path::new(DIR)).is_err());
    disk.crash();
    assert!(disk.is_powered());
    disk.mount().names(Path::new(DIR)).unwrap();
}

#[test]
fn a_full_disk_refuses_growth_and_takes_it_again() {
    let (disk, mount) = new(1);
    disk.set_capacity(Some(5000));
    let file = mount.create(&path("a")).unwrap();
    file.write_all_at(&[1; 4000], 0).unwrap();
    file.write_all_at(&[2; 4000], 0).unwrap();
    let is_full = |error: io::Error| error.raw_os_error() == Some(libc::ENOSPC);
    assert!(is_full(file.write_all_at(&[1; 1], 5000).unwrap_err()));
    assert!(is_full(mount.create_mapped(&path("b"), b"", 1001, 0).unwrap_err()));
    assert!(!mount.exists(&path("b")), "nothing is left behind");
    mount.create_mapped(&path("b"), b"", 1000, 0).unwrap();
    drop(file);
    mount.remove(&path("a")).unwrap();
    mount.sync_directory(Path::new(DIR)).unwrap();
    assert_eq!(disk.used_bytes(), 1000);
    mount.create_mapped(&path("c"), b"", 4000, 0).unwrap();
    assert_eq!(disk.counts().full, 2);
}

#[test]
fn bad_sectors_and_flipped_bits_are_where_they_were_put() {
    let (disk, mount) = new(1);
    disk.lay(&path("a"), vec![0; 2000]);
    disk.flip_bit(&path("a"), 10, 3).unwrap();
    disk.make_unreadable(&path("a"), 600).unwrap();
    let file = mount.open_writable(&path("a")).unwrap();
    let mut head = [0; 512];
    assert_eq!(file.read_at(&mut head, 0).unwrap(), 512);
    assert_eq!((head[9], head[10]), (0, 8));
    assert_eq!(file.read_at(&mut [0; 10], 1020).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(file.read_at(&mut [0; 1000], 1024).unwrap(), 976);
    file.write_all_at(&[1; 512], 512).unwrap();
    assert_eq!(file.read_at(&mut [0; 10], 1020).unwrap(), 10);
}

#[test]
fn an_exclusive_rename_keeps_what_is_there_and_an_open_file_outlives_its_name() {
    let (disk, mount) = new(1);
    disk.lay(&path("a"), b"a".to_vec());
    disk.lay(&path("b"), b"b".to_vec());
    let error = mount.rename_exclusive(&path("a"), &path("b")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    let open = mount.open(&path("b")).unwrap();
    mount.rename(&path("a"), &path("b")).unwrap();
    mount.sync_directory(Path::new(DIR)).unwrap();
    let mut byte = [0];
    open.read_at(&mut byte, 0).unwrap();
    assert_eq!((byte, disk.contents(&path("b")).unwrap()), (*b"b", b"a".to_vec()));
    assert_eq!(mount.open(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
