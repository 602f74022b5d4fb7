//! The `report` command: saved runs in, one HTML page out.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::output::OutputFile;
use crate::output::html::{NamedRun, page};
use crate::output::saved::SavedRun;

#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The page to write
    #[arg(long, value_name = "FILE.html")]
    pub out: PathBuf,
    /// Heading of the page
    #[arg(long, default_value = "ringkeeper-load")]
    pub title: String,
    /// Saved runs (--save), each FILE or NAME=FILE; runs of one name get one colour
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,
}

pub fn report(args: &ReportArgs) -> Result<(), Failure> {
    let runs = args.runs.iter().map(|run| named_run(run)).collect::<Result<Vec<_>, _>>()?;
    let mut output = OutputFile::open("--out", &args.out)?;
    output.write_whole(&page(&args.title, &runs)).map_err(Failure::Output)
}

fn named_run(text: &str) -> Result<NamedRun, Failure> {
    // A file may have a = in its name.
    let split = if Path::new(text).exists() { None } else { text.split_once('=') };
    let (name, path) = split.map_or((None, Path::new(text)), |(name, path)| (Some(name), Path::new(path)));
    let run = SavedRun::read(path)?;
    let stem = || path.file_stem().map_or(text.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let name = name.map(str::to_owned).or_else(|| run.label.clone()).unwrap_or_else(stem);
    Ok(NamedRun { name, run })
}
