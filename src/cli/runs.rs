//! Run folders by name: `latest`, a run's id, or a path; with `/` and an instance's id after it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Failure, runs_folder};

/// The file or link beside the run folders that leads to the last of them.
const LATEST: &str = "latest";

/// The folder of the run that `name` means.
pub fn find(name: &str) -> Result<PathBuf, Failure> {
    locate(name).ok_or_else(|| {
        let runs = runs_folder();
        let is_measurement = |path: &Path| path.join("bench.json").is_file();
        if is_measurement(Path::new(name)) || is_measurement(&runs.join(name)) {
            return Failure::usage(format!(
                "{name}: found a measurement, expected a run; a measurement is drawn by bench --report html"
            ));
        }
        let known = match known().join(" ") {
            names if names.is_empty() => "there is none yet".to_owned(),
            names => format!("known are: {names}"),
        };
        Failure::usage(format!(
            "found no run \"{name}\", expected a folder with results.json, a run's name in {}, or \
             {LATEST}; {known}",
            runs.display(),
        ))
    })
}

/// An error if there is anything at `path`: two runs are never mixed.
pub fn refuse_taken(path: &Path) -> Result<(), Failure> {
    let is_taken = path
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    match is_taken {
        false => Ok(()),
        true => Err(Failure::usage(format!(
            "{}: found files there, expected a new or empty folder for the run",
            path.display()
        ))),
    }
}

/// Splits `RUN/INSTANCE` where a run folder ends; `None` if it does not begin with one.
pub fn split(text: &str) -> Option<(PathBuf, &str)> {
    text.match_indices('/')
        .find_map(|(slash, _)| Some((locate(&text[..slash])?, &text[slash + 1..])))
}

/// Makes `folder` the latest run: as a link, or where links cannot be made as a file that holds its name. A
/// run elsewhere than among the others is nobody's latest.
pub fn set_latest(folder: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    if parent != runs_folder() {
        return Ok(());
    }
    let latest = parent.join(LATEST);
    match fs::remove_file(&latest) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(name, &latest)
        .or_else(|_| fs::write(&latest, name.as_encoded_bytes()))
}

fn locate(name: &str) -> Option<PathBuf> {
    let among_runs = runs_folder().join(name);
    let places = match name {
        LATEST => vec![among_runs],
        _ => vec![PathBuf::from(name), among_runs],
    };
    places
        .into_iter()
        .map(|path| match fs::read_to_string(&path) {
            Ok(target) if path.ends_with(LATEST) => path.with_file_name(target.trim()),
            _ => path,
        })
        .find(|path| path.join("results.json").is_file())
}

fn known() -> Vec<String> {
    let Ok(entries) = fs::read_dir(runs_folder()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("results.json").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
