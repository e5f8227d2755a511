//! The YAML text as a tree of nodes that know their place. Only what a submission needs: no anchors, no
//! aliases (so no text can grow when read), no tags, one document; depth and number of nodes are limited.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{
    limits::{MAX_BYTES, MAX_DEPTH, MAX_NODES},
    problem::{Place, Problems},
};

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    /// A text; what it means (number, name) is decided where it is read. Quoted text is never a number.
    Scalar { text: String, quoted: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; keys may repeat here, the reader of the mapping says so.
    Map(Vec<(Key, Node)>),
    /// Something already reported: nothing more is to be said about it.
    Refused,
}

/// Key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) name: String,
}

/// Reads the text into its tree; `None` when it is not YAML or beyond a limit, with the problem reported.
pub(super) fn read(yaml: &str, problems: &mut Problems) -> Option<Node> {
    if yaml.len() > MAX_BYTES {
        problems.report(Place::START, "", format!("longer than {MAX_BYTES} bytes"));
        return None;
    }
    let yaml = yaml.strip_prefix('\u{feff}').unwrap_or(yaml);
    if let Some(place) = nul(yaml) {
        // The scanner takes it for the end of the text and would leave out the rest in silence.
        problems.report(place, "", "a NUL character: a submission is plain text");
        return None;
    }
    let mut tree = Tree { open: Vec::new(), root: None, nodes: 0 };
    let mut documents = 0;
    for event in Parser::new_from_str(yaml) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                problems.report(place(error.marker()), "", format!("not YAML: {}", error.info()));
                return None;
            }
        };
        let at = place(&span.start);
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                problems.report(at, "", "a second document: one file is one submission");
                return None;
            }
        }
        tree.take(event, at, problems)?;
    }
    if tree.root.is_none() {
        problems.report(Place::START, "", "empty: a submission is a mapping with `name`, `datasets`, `methods`");
    }
    tree.root
}

/// A list or mapping whose end has not come yet.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<(Key, Node)>, Next),
}

/// What a mapping reads next.
enum Next {
    Key,
    /// The value of this key; `None` is a key that was refused.
    Value(Option<Key>),
}

/// The tree as far as it is read. An explicit stack: depth costs no recursion.
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

impl Tree {
    /// Takes the next event; `None` when a limit is passed.
    fn take(&mut self, event: Event<'_>, at: Place, problems: &mut Problems) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(anchor, tag.as_deref(), at, problems);
                let quoted = style != ScalarStyle::Plain;
                self.close(Node { place: at, value: Value::Scalar { text: text.into_owned(), quoted } }, problems)?;
            }
            Event::Alias(_) => {
                problems.report(at, "", "an alias (`*name`) is not supported: write the value out, or use `defaults`");
                self.close(Node { place: at, value: Value::Refused }, problems)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_extras(anchor, tag.as_deref(), at, problems);
                self.open(Open::List(at, Vec::new()), at, problems)?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_extras(anchor, tag.as_deref(), at, problems);
                self.open(Open::Map(at, Vec::new(), Next::Key), at, problems)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop()? {
                    Open::List(place, items) => Node { place, value: Value::List(items) },
                    Open::Map(place, entries, _) => Node { place, value: Value::Map(entries) },
                };
                self.close(node, problems)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Some(())
    }

    /// Opens a list or mapping.
    fn open(&mut self, open: Open, at: Place, problems: &mut Problems) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            problems.report(at, "", format!("nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        self.open.push(open);
        Some(())
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, node: Node, problems: &mut Problems) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            problems.report(node.place, "", format!("more than {MAX_NODES} values"));
            return None;
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, next)) => match std::mem::replace(next, Next::Key) {
                Next::Key => *next = Next::Value(key(node, problems)),
                Next::Value(key) => entries.extend(key.map(|key| (key, node))),
            },
        }
        Some(())
    }
}

/// A node as the key of a mapping.
fn key(node: Node, problems: &mut Problems) -> Option<Key> {
    match node.value {
        Value::Scalar { text, .. } => Some(Key { place: node.place, name: text }),
        Value::Refused => None,
        Value::List(_) | Value::Map(_) => {
            problems.report(node.place, "", "a key must be a name, not a list or a mapping");
            None
        }
    }
}

/// Reports an anchor or a tag; the value itself is read as if they were not there.
fn refuse_extras(anchor: usize, tag: Option<&Tag>, at: Place, problems: &mut Problems) {
    if anchor != 0 {
        problems.report(at, "", "an anchor (`&name`) is not supported: write the value out, or use `defaults`");
    }
    if tag.is_some() {
        problems.report(at, "", "a tag (`!name`) is not supported");
    }
}

/// Place of the scanner's marker, whose columns count from 0.
fn place(marker: &Marker) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(marker.line().max(1)), column: number(marker.col() + 1) }
}

/// Place of the first NUL character.
fn nul(yaml: &str) -> Option<Place> {
    let before = &yaml[..yaml.find('\0')?];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count();
    Some(place(&Marker::new(0, line, column)))
}
