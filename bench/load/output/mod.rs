//! What is said about a run, and where: a table and JSON on standard output; a saved run, a CSV file, an HDR log and an HTML
//! page in files. This file opens those before anything is measured; each format has a file of its own.

pub mod csv;
pub mod hdr_log;
pub mod html;
mod html_text;
mod plot;
pub mod report;
pub mod saved;
pub mod table;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::failure::Failure;

/// A file that can be written, known before the run. What an earlier run left in it stays until something new is there.
pub struct OutputFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl OutputFile {
    pub fn open(option: &str, path: &Path) -> Result<OutputFile, Failure> {
        let is_new = !path.exists();
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(Failure::system(format!("cannot write {option} {}", path.display())))?;
        Ok(OutputFile { path: path.to_owned(), file, is_new })
    }

    pub fn write_whole(&mut self, text: &str) -> Result<(), String> {
        self.emptied().and_then(|file| file.write_all(text.as_bytes())).map_err(|error| self.failed(&error))
    }

    pub fn emptied(&mut self) -> std::io::Result<&mut File> {
        // Not every file has a length: a pipe or /dev/null takes what comes.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(&mut self.file)
    }

    /// Takes an empty file away that was not there before.
    fn discard(&self) {
        if self.is_new && self.file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
            // Left behind it would be untidy, no more.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    pub fn failed(&self, error: &dyn std::fmt::Display) -> String {
        format!("cannot write {}: {error}", self.path.display())
    }
}

/// The files that a command line names.
#[derive(Default)]
pub struct Files {
    pub save: Option<OutputFile>,
    pub csv: Option<OutputFile>,
    pub hdr_log: Option<OutputFile>,
    pub html: Option<OutputFile>,
}

impl Files {
    pub fn open(args: &Args) -> Result<Files, Failure> {
        let open = |option: &str, path: &Option<PathBuf>| {
            path.as_deref().map(|path| OutputFile::open(option, path)).transpose()
        };
        Ok(Files {
            save: open("--save", &args.save)?,
            csv: open("--csv", &args.csv)?,
            hdr_log: open("--hdr-log", &args.hdr_log)?,
            html: open("--html", &args.html)?,
        })
    }

    /// Nothing was measured: leaves no empty files behind.
    pub fn discard(&self) {
        [&self.save, &self.csv, &self.hdr_log, &self.html].into_iter().flatten().for_each(OutputFile::discard);
    }
}
