//! The run folder: where a run leaves its results, and where every report takes them from.
//!
//! ```text
//! results.json                 the report
//! contents/three-pieces        what traces refer to instead of repeating it
//! <instance id>/trace.jsonl    every frame, one event a line
//! <instance id>/ladder.txt     the same as a picture
//! <instance id>/evidence.pcapng  the same for tools that open captures
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    InstanceResult, Report, SCHEMA, StoredFile,
    ladder::Ladder,
    marks,
    matrix::{self, Matrix},
};
use crate::trace::{Trace, jsonl};

/// A run folder and the contents its traces refer to.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    contents: Vec<(String, Vec<u8>)>,
}

impl Folder {
    /// Makes a fresh run folder at `path` with the contents that traces will refer to.
    pub fn create(path: &Path, contents: Vec<(String, Vec<u8>)>) -> io::Result<Folder> {
        fs::create_dir_all(path.join(CONTENTS)).map_err(|e| at(path, e))?;
        let folder = Folder {
            path: path.to_owned(),
            contents,
        };
        for (name, bytes) in &folder.contents {
            folder.store(&format!("{CONTENTS}/{name}"), bytes)?;
        }
        Ok(folder)
    }

    /// Opens the folder of an earlier run and reads its report.
    pub fn open(path: &Path) -> io::Result<(Folder, Report)> {
        let results = path.join(RESULTS);
        let text = fs::read_to_string(&results).map_err(|e| at(&results, e))?;
        let mut report: Report = serde_json::from_str(&text).map_err(|e| at(&results, e.into()))?;
        report.count();
        if report.schema != SCHEMA {
            return Err(at(
                &results,
                io::Error::other(format!(
                    "found the schema \"{}\", expected \"{SCHEMA}\"",
                    report.schema
                )),
            ));
        }
        let mut folder = Folder {
            path: path.to_owned(),
            contents: Vec::new(),
        };
        for content in &report.run.contents {
            let bytes = folder.load(content)?;
            let name = content
                .file
                .trim_start_matches(CONTENTS)
                .trim_start_matches('/');
            folder.contents.push((name.to_owned(), bytes));
        }
        Ok((folder, report))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The contents, to be stored elsewhere too.
    pub fn owned_contents(&self) -> Vec<(String, Vec<u8>)> {
        self.contents.clone()
    }

    /// The contents as stored files, for the report.
    pub fn contents(&self) -> Vec<StoredFile> {
        self.contents
            .iter()
            .map(|(name, bytes)| stored(&format!("{CONTENTS}/{name}"), bytes))
            .collect()
    }

    /// The contents as traces know them.
    pub fn known(&self) -> Vec<jsonl::Known<'_>> {
        self.contents
            .iter()
            .map(|(name, bytes)| jsonl::Known { name, bytes })
            .collect()
    }

    /// Writes a file and says what it is.
    pub fn store(&self, file: &str, bytes: &[u8]) -> io::Result<StoredFile> {
        let path = self.path.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| at(parent, e))?;
        }
        fs::write(&path, bytes).map_err(|e| at(&path, e))?;
        Ok(stored(file, bytes))
    }

    /// Writes `results.json`, in one go: a reader never sees half of it.
    pub fn store_report(&self, report: &Report) -> io::Result<()> {
        let path = self.path.join(RESULTS);
        let draft = self.path.join(format!("{RESULTS}.new"));
        fs::write(&draft, report.to_json()).map_err(|e| at(&draft, e))?;
        fs::rename(&draft, &path).map_err(|e| at(&path, e))
    }

    /// Reads a file and holds it to its digest.
    pub fn load(&self, file: &StoredFile) -> io::Result<Vec<u8>> {
        let path = self.path.join(&file.file);
        let bytes = fs::read(&path).map_err(|e| at(&path, e))?;
        let found = digest(&bytes);
        if found != file.sha256 {
            let expected = &file.sha256;
            return Err(at(
                &path,
                io::Error::other(format!(
                    "found a file with SHA-256 {found}, expected {expected}: it was changed \
                     after the run"
                )),
            ));
        }
        Ok(bytes)
    }

    /// The trace of an instance; `None` if it was never played.
    pub fn trace(&self, instance: &InstanceResult) -> io::Result<Option<Trace>> {
        let Some(file) = &instance.trace else {
            return Ok(None);
        };
        let path = self.path.join(&file.file);
        let text =
            String::from_utf8(self.load(file)?).map_err(|e| at(&path, io::Error::other(e)))?;
        jsonl::read(&text, &self.known())
            .map(Some)
            .map_err(|e| at(&path, io::Error::other(e)))
    }

    /// The kill matrix, if one was left here.
    pub fn matrix(&self) -> io::Result<Option<Matrix>> {
        let path = self.path.join(matrix::JSON);
        match fs::read_to_string(&path) {
            Ok(text) => Matrix::read(&text)
                .map(Some)
                .map_err(|e| at(&path, e.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, error)),
        }
    }

    /// The picture of an instance; `None` if it was never played.
    pub fn ladder(&self, instance: &InstanceResult) -> io::Result<Option<Ladder>> {
        Ok(self
            .trace(instance)?
            .map(|trace| marks::ladder(&trace, instance)))
    }
}

/// The SHA-256 of `bytes`, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// The file of an instance's trace.
pub fn trace_file(instance: &str) -> String {
    format!("{instance}/trace.jsonl")
}

/// The file of an instance's ladder.
pub fn ladder_file(instance: &str) -> String {
    format!("{instance}/ladder.txt")
}

/// The file of an instance's capture.
pub fn capture_file(instance: &str) -> String {
    format!("{instance}/evidence.pcapng")
}

fn stored(file: &str, bytes: &[u8]) -> StoredFile {
    StoredFile {
        file: file.to_owned(),
        sha256: digest(bytes),
    }
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

const RESULTS: &str = "results.json";
const CONTENTS: &str = "contents";
