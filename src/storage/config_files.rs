//! The files that hold configurations of an ensemble, beside the static file `zoo.cfg` (quorum-protocol sheet §18):
//! `zoo.cfg.dynamic.next`, the newest one heard of, and `zoo.cfg.dynamic.<version>`, the committed one, which the static file
//! then names.
//!
//! Each is replaced whole: written under `<name>.tmp`, synced, renamed, and the directory synced. The order of the three makes
//! that a crash in between is found as a configuration that is heard of and not known to be committed, never as less.

use super::error::{At, StorageError};
use crate::io::disk::{Disk, read_exact_at};
use crate::types::QuorumConfig;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// No configuration file is longer, bytes.
const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;

/// Text of a static file that leads to the dynamic file; without this server's client address, if asked for.
pub type EditStatic = fn(text: &[u8], dynamic_file: &str, drops_client: bool) -> Result<String, String>;

#[derive(Clone, Debug)]
pub struct ConfigFiles {
    disk: Arc<dyn Disk>,
    /// Absolute, without links on the way to its directory: Java's tools compare what the static file names.
    static_file: PathBuf,
    edit_static: EditStatic,
}

impl ConfigFiles {
    /// The directory of `static_file` is that of all the others.
    pub fn new(disk: Arc<dyn Disk>, static_file: PathBuf, edit_static: EditStatic) -> ConfigFiles {
        ConfigFiles { disk, static_file, edit_static }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.static_file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn next_file(&self) -> PathBuf {
        self.beside(".dynamic.next")
    }

    fn directory(&self) -> &Path {
        self.static_file.parent().unwrap_or(Path::new("/"))
    }

    /// A copy of the static file as it is, `zoo.cfg.bak`.
    pub fn back_up(&self) -> Result<(), StorageError> {
        let text = self.read_static()?;
        self.replace(&self.beside(".bak"), &text)
    }

    /// The configuration is heard of: durable when this returns.
    pub fn keep_next(&self, config: &QuorumConfig) -> Result<(), StorageError> {
        self.replace(&self.next_file(), config.next_file_text().as_bytes())
    }

    /// What was heard of last is known to have come to nothing.
    pub fn forget_next(&self) -> Result<(), StorageError> {
        let next = self.next_file();
        if !self.disk.exists(&next) {
            return Ok(());
        }
        self.disk.remove(&next).at("cannot remove", &next)?;
        self.disk.sync_directory(self.directory()).at("cannot sync", self.directory())
    }

    /// The configuration is committed: durable when this returns. `is_newest`: nothing newer is heard of.
    pub fn keep_committed(
        &self,
        config: &QuorumConfig,
        drops_client: bool,
        is_newest: bool,
    ) -> Result<(), StorageError> {
        let dynamic_file = self.beside(&format!(".dynamic.{:x}", config.version));
        self.replace(&dynamic_file, config.dynamic_file_text().as_bytes())?;
        let file = &self.static_file;
        let text = (self.edit_static)(&self.read_static()?, &dynamic_file.to_string_lossy(), drops_client);
        let text = text.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)).at("cannot read", file)?;
        self.replace(file, text.as_bytes())?;
        if is_newest { self.forget_next() } else { Ok(()) }
    }

    fn read_static(&self) -> Result<Vec<u8>, StorageError> {
        self.read(&self.static_file).at("cannot read", &self.static_file)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.disk.open(path)?;
        let mut bytes = vec![0; file.bytes()?.min(CONFIG_FILE_BYTES_MAX) as usize];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut tmp = path.as_os_str().to_owned();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        self.write_synced(&tmp, bytes).at("cannot write", &tmp)?;
        self.disk.rename(&tmp, path).at("cannot rename to", path)?;
        self.disk.sync_directory(self.directory()).at("cannot sync", self.directory())
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.disk.create(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::real_disk::RealDisk;

    fn edit(text: &[u8], dynamic_file: &str, drops_client: bool) -> Result<String, String> {
        Ok(format!("{}{dynamic_file} {drops_client}\n", String::from_utf8_lossy(text)))
    }

    fn config(version: i64) -> QuorumConfig {
        QuorumConfig::parse(&format!("server.1=a:1:2\nserver.2=b:1:2;2181\nversion={version:x}")).unwrap()
    }

    #[test]
    fn heard_of_then_committed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let read = |name: &str| std::fs::read_to_string(at(name)).ok();
        std::fs::write(at("zoo.cfg"), "tickTime=1\n").unwrap();
        let files = ConfigFiles::new(Arc::new(RealDisk), at("zoo.cfg"), edit);
        files.back_up().unwrap();
        files.keep_next(&config(0x2a)).unwrap();
        let lines = "server.1=a:1:2:participant\nserver.2=b:1:2:participant;0.0.0.0:2181";
        assert_eq!(read("zoo.cfg.dynamic.next"), Some(format!("{lines}\nversion=2a")));
        assert_eq!((read("zoo.cfg"), read("zoo.cfg.bak")), (Some("tickTime=1\n".into()), Some("tickTime=1\n".into())));
        files.keep_committed(&config(0x2a), true, true).unwrap();
        assert_eq!(read("zoo.cfg.dynamic.2a").as_deref(), Some(lines));
        let dynamic = at("zoo.cfg.dynamic.2a");
        assert_eq!(read("zoo.cfg"), Some(format!("tickTime=1\n{} true\n", dynamic.display())));
        assert_eq!(read("zoo.cfg.dynamic.next"), None);
        files.keep_next(&config(0x2b)).unwrap();
        files.keep_committed(&config(0x2a), false, false).unwrap();
        assert!(read("zoo.cfg.dynamic.next").is_some(), "something newer is heard of");
        files.forget_next().unwrap();
        files.forget_next().unwrap();
        assert_eq!(read("zoo.cfg.dynamic.next"), None);
        let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let files = ConfigFiles::new(Arc::new(RealDisk), home.path().join("none/zoo.cfg"), edit);
        let told = files.keep_next(&config(1)).unwrap_err().to_string();
        assert!(told.contains("none/zoo.cfg.dynamic.next.tmp"), "{told}");
        assert!(files.back_up().is_err() && files.keep_committed(&config(1), false, true).is_err());
    }
}
