//! What was typed: the command line, in the forms that ZooKeeper's own start classes take.
//!
//! ```text
//! ringkeeper [-Dname=value ...] path/to/zoo.cfg
//! ringkeeper [-Dname=value ...] <port> <dataDir> [tickTime [maxClientCnxns]]
//! ringkeeper [-Dname=value ...]                    port 2181, ./data
//! ```
//! `-D` may stand anywhere, since it replaces what a JVM takes before the class name. Values are only split here;
//! `load` gives them meaning.

use std::path::PathBuf;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Version,
    Serve(CommandLine),
}

/// A start of the server.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// `-Dname=value`, in the order typed; a later one of the same name wins. Without `=` the value is empty.
    pub properties: Vec<(String, String)>,
    pub given: Given,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Given {
    /// No arguments: the embedded default.
    #[default]
    Nothing,
    /// A file in the form of `zoo.cfg`.
    File(PathBuf),
    /// Port and directory on the command line; texts as typed.
    Inline { client_port: String, data_dir: PathBuf, tick_time: Option<String>, max_client_cnxns: Option<String> },
}

/// A command line that cannot be understood; the process ends with code 2 as ZooKeeper's does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCommandLine(String);

pub const USAGE: &str = "\
Usage: ringkeeper [-Dname=value ...] [path/to/zoo.cfg]
       ringkeeper [-Dname=value ...] <port> <dataDir> [tickTime [maxClientCnxns]]

Without arguments: port 2181, data in ./data.

  path/to/zoo.cfg   a ZooKeeper configuration file
  -Dname=value      a property, as ZooKeeper takes it from the JVM (zookeeper.snapCount, jute.maxbuffer, ...)
  -h, --help        this text
  -V, --version     the version
";

/// Takes the arguments after the program name.
pub fn parse_args(args: impl IntoIterator<Item = String>) -> Result<Command, BadCommandLine> {
    let mut properties = Vec::new();
    let mut plain: Vec<String> = Vec::new();
    for arg in args {
        if let Some(property) = arg.strip_prefix("-D") {
            let (name, value) = property.split_once('=').unwrap_or((property, ""));
            if name.is_empty() {
                return Err(BadCommandLine("-D needs a name: -Dname=value".to_owned()));
            }
            properties.push((name.to_owned(), value.to_owned()));
        } else if arg == "-h" || arg == "--help" {
            return Ok(Command::Help);
        } else if arg == "-V" || arg == "--version" {
            return Ok(Command::Version);
        } else if arg.starts_with('-') && arg.len() > 1 {
            return Err(BadCommandLine(format!("unknown option {arg}")));
        } else {
            plain.push(arg);
        }
    }
    let count = plain.len();
    let mut plain = plain.into_iter();
    let given = match (count, plain.next(), plain.next()) {
        (0, _, _) => Given::Nothing,
        (1, Some(path), _) => Given::File(PathBuf::from(path)),
        (2..=4, Some(client_port), Some(data_dir)) => Given::Inline {
            client_port,
            data_dir: PathBuf::from(data_dir),
            tick_time: plain.next(),
            max_client_cnxns: plain.next(),
        },
        _ => {
            return Err(BadCommandLine(format!("{count} arguments, at most 4 are taken")));
        }
    };
    Ok(Command::Serve(CommandLine { properties, given }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, BadCommandLine> {
        parse_args(line.split_whitespace().map(str::to_owned))
    }

    fn served(line: &str) -> CommandLine {
        match parse(line).unwrap() {
            Command::Serve(line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_forms() {
        assert_eq!(served(""), CommandLine::default());
        assert_eq!(served("conf/zoo.cfg").given, Given::File("conf/zoo.cfg".into()));
        let inline = |tick: Option<&str>, max: Option<&str>| Given::Inline {
            client_port: "2181".into(),
            data_dir: "/d".into(),
            tick_time: tick.map(str::to_owned),
            max_client_cnxns: max.map(str::to_owned),
        };
        assert_eq!(served("2181 /d").given, inline(None, None));
        assert_eq!(served("2181 /d 500").given, inline(Some("500"), None));
        assert_eq!(served("2181 /d 500 7").given, inline(Some("500"), Some("7")));
        assert!(parse("1 2 3 4 5").is_err());
    }

    #[test]
    fn properties_anywhere() {
        let line = served("-Da=1 zoo.cfg -Dzookeeper.b=x=y -Dc");
        assert_eq!(line.given, Given::File("zoo.cfg".into()));
        let expected = [("a", "1"), ("zookeeper.b", "x=y"), ("c", "")];
        let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(line.properties, expected);
        assert!(parse("-D=1").is_err());
    }

    #[test]
    fn questions_and_mistakes() {
        assert_eq!(parse("zoo.cfg --help").unwrap(), Command::Help);
        assert_eq!(parse("-V").unwrap(), Command::Version);
        assert!(parse("--port=3").unwrap_err().to_string().contains("--port=3"));
    }
}
