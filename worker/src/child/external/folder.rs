//! The folder of a program: its own files, `input/` with features and `description.json`, an empty `output/`.

use std::{
    fs::{self, File, Permissions},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use retrieval::{
    error::{Error, Result},
    features::Pairs,
    method::{TrainingData, Unlabelled},
    npy,
};
use serde_json::{Value, json};

use super::watch::Limits;

/// Version of the layout that programs are promised.
const VERSION: u32 = 1;
/// Name of the folder within that of the step.
const NAME: &str = "program";

/// The folder; gone with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// What a program is told besides the data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) seed: u64,
    pub(super) threads: usize,
    pub(super) gpu: Option<&'a str>,
    pub(super) limits: Limits,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now goes with the folder of the step.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    /// Makes the folder anew, with the files of the program in it.
    pub(super) fn make(step: &Path, files: &[(String, PathBuf)]) -> Result<Self> {
        let root = step.join(NAME);
        if root.exists() {
            fs::remove_dir_all(&root).map_err(Error::file(&root))?;
        }
        let folder = Self(root);
        for name in ["input", "output", "tmp"] {
            let path = folder.0.join(name);
            fs::create_dir_all(&path).map_err(Error::file(&path))?;
        }
        for (name, content) in files {
            let path = folder.0.join(name);
            let parent = path.parent().unwrap_or(&folder.0);
            fs::create_dir_all(parent).map_err(Error::file(parent))?;
            fs::copy(content, &path).map_err(Error::file(&path))?;
            // A command may name a script itself; content in the store is nobody's program.
            fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(Error::file(&path))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes everything that the program is given.
    pub(super) fn lay_out(
        &self,
        data: &TrainingData<'_>,
        (unlabelled, orders): (&Unlabelled<'_>, &[Vec<usize>; 2]),
        facts: &Facts<'_>,
    ) -> Result<()> {
        let train = self.labelled("train", &data.train)?;
        let validation = match data.validation.rows() {
            0 => Value::Null,
            _ => self.labelled("validation", &data.validation)?,
        };
        let image = self.write("test_image.npy", |out| npy::write_rows(out, &unlabelled.image, &orders[0]))?;
        let text = self.write("test_text.npy", |out| npy::write_rows(out, &unlabelled.text, &orders[1]))?;
        let description = json!({
            "version": VERSION,
            "seed": facts.seed,
            "classes": data.classes,
            "image_dims": data.train.image.dims(),
            "text_dims": data.train.text.dims(),
            "train": train,
            "validation": validation,
            "test": { "images": unlabelled.image.rows(), "texts": unlabelled.text.rows(), "image": image, "text": text },
            "output": { "image": "output/image.npy", "text": "output/text.npy" },
            "threads": facts.threads,
            "gpu": facts.gpu,
            "limits": { "seconds": facts.limits.time.as_secs(), "memory_bytes": facts.limits.memory_bytes },
        });
        self.write("description.json", |out| writeln!(out, "{description:#}")).map(drop)
    }

    fn labelled(&self, part: &str, pairs: &Pairs<'_>) -> Result<Value> {
        let order: Vec<usize> = (0..pairs.rows()).collect();
        let image = self.write(&format!("{part}_image.npy"), |out| npy::write_rows(out, &pairs.image, &order))?;
        let text = self.write(&format!("{part}_text.npy"), |out| npy::write_rows(out, &pairs.text, &order))?;
        let labels = self.write(&format!("{part}_labels.npy"), |out| npy::write_labels(out, pairs.labels))?;
        Ok(json!({ "pairs": pairs.rows(), "image": image, "text": text, "labels": labels }))
    }

    /// Writes a file of `input/`; its path in the program's folder.
    fn write(&self, name: &str, content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<String> {
        let place = format!("input/{name}");
        let path = self.0.join(&place);
        let written = File::create(&path).map(BufWriter::new).and_then(|mut out| {
            content(&mut out)?;
            out.flush()
        });
        written.map_err(Error::file(&path))?;
        Ok(place)
    }
}
