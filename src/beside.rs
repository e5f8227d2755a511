//! Files that stand beside a specification on this machine: its programs (`command:`) take along those they name.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use experiment_spec::{
    catalog::Catalog,
    ids::ContentHash,
    program::{Files, MAX_FILE_BYTES, ProgramFile},
    spec,
};
use orchestrator_proto::v1;

use crate::exit::{Failure, Outcome};

/// The folder of a specification, and what was taken from it.
#[derive(Debug)]
pub(crate) struct Beside {
    folder: PathBuf,
    taken: BTreeMap<String, Vec<u8>>,
    /// Why a file that is there could not be taken.
    refused: Option<String>,
}

impl Beside {
    pub(crate) fn new(spec: &Path) -> Self {
        let folder = spec.parent().map(Path::to_owned).unwrap_or_default();
        Self { folder, taken: BTreeMap::new(), refused: None }
    }

    /// The files that a specification names, to be sent with it. What else is wrong with it is for the coordinator to say.
    pub(crate) fn collect(spec: &Path, yaml: &str, catalog: &Catalog) -> Outcome<Vec<v1::SentFile>> {
        let mut beside = Self::new(spec);
        // Its mistakes are looked at where it is planned; here only which files it asks for counts.
        drop(spec::parse_with(yaml, catalog, &mut beside));
        match beside.refused.take() {
            Some(why) => Err(Failure::request(why)),
            None => Ok(beside.into_sent()),
        }
    }

    /// What was taken, to be sent.
    pub(crate) fn into_sent(self) -> Vec<v1::SentFile> {
        self.taken.into_iter().map(|(name, content)| v1::SentFile { name, content }).collect()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let path = self.folder.join(name);
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        // A folder, or a program of the machine that has the name of a word, is no file to take along.
        if !std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let mut content = Vec::new();
        let file = std::fs::File::open(&path).map_err(fail)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(fail)?;
        if content.len() as u64 > MAX_FILE_BYTES {
            let path = path.display();
            return Err(format!(
                "{path}: more than {MAX_FILE_BYTES} bytes: a program travels with its submission, data do not; install \
                 them on the nodes"
            ));
        }
        Ok(Some(content))
    }
}

impl Files for Beside {
    fn find(&mut self, name: &str) -> Result<Option<ProgramFile>, String> {
        let content = match self.taken.get(name) {
            Some(content) => content,
            None => match self.read(name) {
                Ok(None) => return Ok(None),
                Ok(Some(content)) => self.taken.entry(name.to_owned()).or_insert(content),
                Err(why) => {
                    self.refused.get_or_insert_with(|| why.clone());
                    return Err(why);
                }
            },
        };
        let (hash, bytes) = (ContentHash::of(content), content.len() as u64);
        Ok(Some(ProgramFile { name: name.to_owned(), hash, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_taken_once_and_folders_and_data_are_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("lib/a.py"), "x = 1").unwrap();
        fs::write(folder.path().join("data"), vec![0; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        let spec = folder.path().join("own.yaml");
        let mut beside = Beside::new(&spec);
        assert_eq!((beside.find("lib"), beside.find("b.py")), (Ok(None), Ok(None)));
        let found = beside.find("lib/a.py").unwrap().unwrap();
        assert_eq!((found.bytes, found.hash), (5, ContentHash::of(b"x = 1")));
        // What was checked is what is sent.
        fs::write(folder.path().join("lib/a.py"), "x = 2").unwrap();
        assert_eq!(beside.find("lib/a.py"), Ok(Some(found)));
        let why = beside.find("data").unwrap_err();
        assert!(why.contains("data: more than 1048576 bytes") && why.contains("install them on the nodes"), "{why}");
        let sent = beside.into_sent();
        assert_eq!((sent.len(), sent[0].name.as_str(), sent[0].content.as_slice()), (1, "lib/a.py", &b"x = 1"[..]));
    }

    #[test]
    fn a_file_that_cannot_go_along_stops_the_submission_here() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("big.py"), vec![b'#'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        let yaml = "name: own\ndatasets: [emoji]\nseeds: 1\nmethods: [{ command: [python3, big.py], label: Own }]\n";
        let refused = Beside::collect(&folder.path().join("own.yaml"), yaml, &crate::catalog::registries());
        assert!(refused.is_err(), "it would have been taken for no file at all");
    }
}
