//! Modules: versioned templates of jobs, read from a `module.toml` and rendered into a [`JobDocument`].
//!
//! ```toml
//! schema = 1
//! name = "cowsay"
//! version = "1.0.0"
//! summary = "A cow says your message"
//! image = { name = "cowsay" }             # `digest` pins it; without, the digest is whatever the name resolves to
//! argv = ["/usr/games/cowsay", "--", "{{ inputs.message }}"]
//! class = "none"
//! resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
//! defaults = { max_price = "100000000000000", duration = 120 }   # token units a second; seconds
//!
//! [inputs.message]
//! summary = "What the cow says"
//! required = true
//! max_length = 500
//! ```
//! A substitution stands for one whole argument and nothing else. Nothing is ever joined into a line, so no value can
//! become two arguments, an option (`--` must precede it) or a command.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};
use sublet_base::{Digest, Price, Seconds};
use thiserror::Error;

use crate::text::{self, BadText};
use crate::workload::{BadWorkload, ImageRef, JobDocument, ModuleRef, WorkloadDocument};
use crate::{Class, Resources};

/// Longest value of an input that says nothing about length, characters.
const DEFAULT_LENGTH: usize = 1024;

/// A module, as written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Version of this format: 1.
    pub schema: u32,
    /// What people type.
    pub name: String,
    /// Of the module, not of the program in it.
    pub version: Version,
    /// One line for lists.
    #[serde(default)]
    pub summary: String,
    /// Root file system.
    pub image: ModuleImage,
    /// Program and arguments, with `{{ inputs.NAME }}` for a whole argument.
    pub argv: Vec<String>,
    /// Environment; no substitutions.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it takes, by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// Limits.
    pub resources: Resources,
    /// How its result is checked.
    pub class: Class,
    /// What an order says unless the renter says otherwise.
    pub defaults: Defaults,
}

/// A module's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleImage {
    /// Looked up in the host's images, or a registry reference.
    pub name: String,
    /// Digest of the OCI manifest, where the module pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What an order says unless the renter says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Token units a second.
    pub max_price: Price,
    /// Longest run.
    pub duration: Seconds,
}

/// What kind of value an input takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputType {
    /// Text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// One of `choices`.
    Choice,
}

/// One input of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// One line of help.
    pub summary: String,
    /// Text unless said.
    #[serde(rename = "type")]
    pub kind: InputType,
    /// Must be given. An input that is neither required nor has a default leaves its argument out.
    pub required: bool,
    /// Taken when not given.
    pub default: Option<String>,
    /// Text: the most characters.
    pub max_length: Option<usize>,
    /// Text: characters and ranges such as `a-zA-Z0-9 .!?`; `-` itself goes last. All but control characters if unsaid.
    pub allowed: Option<String>,
    /// Text: the program takes shell substitutions as plain text, so do not refuse them.
    pub shell_syntax: bool,
    /// Integer: the least.
    pub min: Option<i64>,
    /// Integer: the most.
    pub max: Option<i64>,
    /// Choice: the words.
    pub choices: Vec<String>,
}

/// Why a module file is refused.
#[derive(Debug, Error)]
pub enum BadModule {
    /// Not TOML, or unknown fields.
    #[error("the module file cannot be read")]
    Toml(#[source] Box<toml::de::Error>),
    /// Written for another version of this format.
    #[error("its schema is {0}; this version reads schema 1")]
    Schema(u32),
    /// A field contradicts the format.
    #[error("`{field}` {why}")]
    Field {
        /// Which.
        field: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a job cannot be rendered from these inputs. Each says what to do about it.
#[derive(Debug, Error)]
pub enum RenderError {
    /// Not an input of the module.
    #[error("{module} has no input `{input}`; it takes {known}")]
    Unknown {
        /// The module.
        module: String,
        /// What was given.
        input: String,
        /// What exists.
        known: String,
    },
    /// A required input was not given.
    #[error("{module} needs the input `{input}`; pass -i {input}=VALUE")]
    Missing {
        /// The module.
        module: String,
        /// Which.
        input: String,
    },
    /// A value is refused.
    #[error("the input `{input}` {why}")]
    Value {
        /// Which.
        input: String,
        /// What is wrong with it.
        why: BadText,
    },
    /// The image found is not the one the module pins.
    #[error("{module} pins image {pinned}; the one found is {found}")]
    OtherImage {
        /// The module.
        module: String,
        /// In the module.
        pinned: Digest,
        /// Resolved.
        found: Digest,
    },
    /// The result breaks a rule for every job.
    #[error("the job it makes is refused")]
    Job(#[source] BadWorkload),
}

impl Module {
    /// Reads and checks a `module.toml`.
    ///
    /// # Errors
    /// [`BadModule`] with the field at fault.
    pub fn parse(file: &str) -> Result<Self, BadModule> {
        let module: Self = toml::from_str(file).map_err(|e| BadModule::Toml(Box::new(e)))?;
        module.check()?;
        Ok(module)
    }

    /// `name:version`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    fn check(&self) -> Result<(), BadModule> {
        if self.schema != 1 {
            return Err(BadModule::Schema(self.schema));
        }
        let bad = |field: &str, why: String| BadModule::Field { field: field.to_owned(), why };
        text::name(&self.name).map_err(|e| bad("name", e.to_string()))?;
        text::plain(&self.summary, 200, &[]).map_err(|e| bad("summary", e.to_string()))?;
        for (name, input) in &self.inputs {
            let field = format!("inputs.{name}");
            text::name(name).map_err(|e| bad(&field, e.to_string()))?;
            input.check().map_err(|why| bad(&field, why))?;
            if !self.argv.iter().any(|a| substitution(a) == Some(name)) {
                return Err(bad(&field, "is not used in argv".into()));
            }
        }
        for (position, argument) in self.argv.iter().enumerate() {
            let field = format!("argv[{position}]");
            match substitution(argument) {
                Some(_) if position == 0 => return Err(bad(&field, "the program itself cannot be an input".into())),
                Some(name) if !self.inputs.contains_key(name) => {
                    return Err(bad(&field, format!("uses `{name}`, which is no input")));
                }
                Some(_) => {}
                None => {
                    if let Some(syntax) = text::template_syntax(argument) {
                        let why =
                            format!("contains `{syntax}`: a substitution is a whole argument, {{{{ inputs.NAME }}}}");
                        return Err(bad(&field, why));
                    }
                }
            }
        }
        if self.defaults.duration.0 == 0 {
            return Err(bad("defaults.duration", "must not be zero".into()));
        }
        // Whatever the inputs are, the rest of the document must pass.
        self.document(self.argv.clone(), BTreeMap::new(), Digest([0; 32]))
            .check()
            .map_err(|e| bad("module", e.to_string()))
    }

    /// The job these inputs make, with the module's image resolved to `image`.
    ///
    /// # Errors
    /// [`RenderError`]: unknown, missing or refused inputs, another image than pinned.
    pub fn render(&self, given: &BTreeMap<String, String>, image: Digest) -> Result<JobDocument, RenderError> {
        if let Some(pinned) = self.image.digest.filter(|d| *d != image) {
            return Err(RenderError::OtherImage { module: self.title(), pinned, found: image });
        }
        let inputs = self.values(given)?;
        let mut argv = Vec::with_capacity(self.argv.len());
        for argument in &self.argv {
            match substitution(argument) {
                None => argv.push(argument.clone()),
                Some(name) => {
                    let Some(value) = inputs.get(name) else { continue };
                    let guarded = argv.iter().any(|a| a == "--");
                    let text = self.inputs.get(name).is_none_or(|i| i.kind == InputType::Text);
                    if value.starts_with('-') && text && !guarded {
                        return Err(RenderError::Value { input: name.to_owned(), why: BadText::Option });
                    }
                    argv.push(value.clone());
                }
            }
        }
        let job = self.document(argv, inputs, image);
        job.check().map_err(RenderError::Job)?;
        Ok(job)
    }

    /// Checks what was given and adds the defaults.
    fn values(&self, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, RenderError> {
        if let Some(input) = given.keys().find(|name| !self.inputs.contains_key(*name)) {
            let names: Vec<_> = self.inputs.keys().map(|n| format!("`{n}`")).collect();
            let known = if names.is_empty() { "no inputs".to_owned() } else { names.join(", ") };
            let input = input.chars().take(63).collect();
            return Err(RenderError::Unknown { module: self.title(), input, known });
        }
        let mut values = BTreeMap::new();
        for (name, input) in &self.inputs {
            match given.get(name).or(input.default.as_ref()) {
                Some(value) => {
                    input.accept(value).map_err(|why| RenderError::Value { input: name.clone(), why })?;
                    values.insert(name.clone(), value.clone());
                }
                None if input.required => {
                    return Err(RenderError::Missing { module: self.title(), input: name.clone() });
                }
                None => {}
            }
        }
        Ok(values)
    }

    fn document(&self, argv: Vec<String>, inputs: BTreeMap<String, String>, digest: Digest) -> JobDocument {
        JobDocument {
            module: ModuleRef { name: self.name.clone(), version: self.version.clone() },
            image: ImageRef { name: self.image.name.clone(), digest },
            argv,
            env: self.env.clone(),
            inputs,
            resources: self.resources,
            class: self.class,
            timeout: self.defaults.duration,
        }
    }
}

impl Input {
    fn check(&self) -> Result<(), String> {
        text::plain(&self.summary, 200, &[]).map_err(|e| format!("summary {e}"))?;
        if self.required && self.default.is_some() {
            return Err("is required and has a default: it can be only one".into());
        }
        if self.kind == InputType::Choice && self.choices.is_empty() {
            return Err("is a choice without choices".into());
        }
        let texts = self.max_length.is_some() || self.allowed.is_some() || self.shell_syntax;
        let numbers = self.min.is_some() || self.max.is_some();
        let stray = match self.kind {
            InputType::Text => numbers || !self.choices.is_empty(),
            InputType::Integer => texts || !self.choices.is_empty(),
            InputType::Choice => texts || numbers,
        };
        if stray {
            return Err("has a limit that belongs to another type".into());
        }
        match &self.default {
            Some(value) => self.accept(value).map_err(|e| format!("default {e}")),
            None => Ok(()),
        }
    }

    /// Refuses a value that breaks this input's limits.
    ///
    /// # Errors
    /// [`BadText`].
    pub fn accept(&self, value: &str) -> Result<(), BadText> {
        match self.kind {
            InputType::Text => self.accept_text(value),
            InputType::Integer => self.accept_integer(value),
            InputType::Choice => {
                text::plain(value, DEFAULT_LENGTH, &[])?;
                if self.choices.iter().any(|c| c == value) { Ok(()) } else { Err(BadText::Form("one of its choices")) }
            }
        }
    }

    fn accept_text(&self, value: &str) -> Result<(), BadText> {
        text::plain(value, self.max_length.unwrap_or(DEFAULT_LENGTH), &['\n'])?;
        if self.required && value.is_empty() {
            return Err(BadText::Empty);
        }
        if let Some(syntax) = text::template_syntax(value) {
            return Err(BadText::Template(syntax));
        }
        if let Some(syntax) = text::shell_syntax(value).filter(|_| !self.shell_syntax) {
            return Err(BadText::Shell(syntax));
        }
        let Some(allowed) = &self.allowed else { return Ok(()) };
        match value.chars().find(|c| !in_set(allowed, *c)) {
            Some(character) => Err(BadText::NotAllowed { character, allowed: allowed.clone() }),
            None => Ok(()),
        }
    }

    fn accept_integer(&self, value: &str) -> Result<(), BadText> {
        let number: i64 = value.parse().map_err(|_| BadText::Form("a whole number"))?;
        if number.to_string() != value {
            return Err(BadText::Form("a whole number written without + or leading zeros"));
        }
        if self.min.is_some_and(|m| number < m) || self.max.is_some_and(|m| number > m) {
            return Err(BadText::Form("within the range the module allows"));
        }
        Ok(())
    }
}

/// The input's name if the argument is a substitution: exactly `{{ inputs.NAME }}`.
fn substitution(argument: &str) -> Option<&str> {
    let inner = argument.strip_prefix("{{")?.strip_suffix("}}")?;
    inner.trim_matches(' ').strip_prefix("inputs.").filter(|name| text::name(name).is_ok())
}

/// Is `c` in a set such as `a-z0-9 .-`?
fn in_set(set: &str, c: char) -> bool {
    let mut rest = set.chars().peekable();
    while let Some(low) = rest.next() {
        if rest.peek() == Some(&'-') {
            rest.next();
            match rest.next() {
                Some(high) if (low..=high).contains(&c) => return true,
                Some(_) => continue,
                None => return c == low || c == '-',
            }
        }
        if c == low {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COWSAY: &str = r#"
        schema = 1
        name = "cowsay"
        version = "1.0.0"
        summary = "A cow says your message"
        image = { name = "cowsay" }
        argv = ["/usr/games/cowsay", "-W", "{{ inputs.width }}", "-f", "{{inputs.cow}}", "--", "{{ inputs.message }}"]
        env = { LANG = "C.UTF-8" }
        class = "none"
        resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
        defaults = { max_price = "100", duration = 120 }
        [inputs.message]
        required = true
        max_length = 40
        [inputs.width]
        type = "integer"
        default = "40"
        min = 1
        max = 200
        [inputs.cow]
        type = "choice"
        choices = ["default", "tux"]
        default = "default"
    "#;

    const IMAGE: Digest = Digest([7; 32]);

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn module() -> Module {
        Module::parse(COWSAY).expect("the module parses")
    }

    #[test]
    fn inputs_become_whole_arguments() {
        let job = module().render(&given(&[("message", "moo; rm -rf / $HOME 'x\"")]), IMAGE).expect("renders");
        assert_eq!(job.argv, ["/usr/games/cowsay", "-W", "40", "-f", "default", "--", "moo; rm -rf / $HOME 'x\""]);
        assert_eq!((job.image.digest, job.timeout, job.inputs.len()), (IMAGE, Seconds(120), 3));
        let (bytes, hash) = job.seal().expect("seals");
        assert_eq!(JobDocument::open(&bytes, hash).expect("opens"), job);
    }

    #[test]
    fn bad_inputs_are_refused_with_a_reason() {
        let cases = [
            (given(&[]), "needs the input `message`; pass -i message=VALUE"),
            (given(&[("message", "a"), ("mesage", "b")]), "no input `mesage`; it takes `cow`, `message`, `width`"),
            (given(&[("message", "{{ inputs.width }}")]), "template syntax `{{`"),
            (given(&[("message", "$(reboot)")]), "shell syntax `$(`"),
            (given(&[("message", "`reboot`")]), "shell syntax ``"),
            (given(&[("message", "a\u{1b}[2J")]), "control character U+001B"),
            (given(&[("message", "a\0b")]), "control character U+0000"),
            (given(&[("message", "\u{202e}evil")]), "control character U+202E"),
            (given(&[("message", "")]), "is empty"),
            (given(&[("message", &"é".repeat(41))]), "41 characters; the most is 40"),
            (given(&[("message", "a"), ("width", "007")]), "leading zeros"),
            (given(&[("message", "a"), ("width", "201")]), "within the range"),
            (given(&[("message", "a"), ("cow", "dragon")]), "one of its choices"),
        ];
        for (inputs, expected) in cases {
            let error = module().render(&inputs, IMAGE).expect_err(expected).to_string();
            assert!(error.contains(expected), "{inputs:?}: {error}");
        }
    }

    #[test]
    fn a_value_cannot_become_an_option() {
        let bare = COWSAY.replace(r#""--", "#, "");
        let module = Module::parse(&bare).expect("parses");
        let error = module.render(&given(&[("message", "-f/etc/passwd")]), IMAGE).expect_err("an option");
        assert!(error.to_string().contains("starts with `-`"), "{error}");
        assert!(self::module().render(&given(&[("message", "-f")]), IMAGE).is_ok(), "after -- it is text");
    }

    #[test]
    fn a_pinned_image_is_the_only_one_that_runs() {
        let pinned = COWSAY.replace(r#"{ name = "cowsay" }"#, &format!(r#"{{ name = "cowsay", digest = "{IMAGE}" }}"#));
        let module = Module::parse(&pinned).expect("parses");
        assert!(module.render(&given(&[("message", "a")]), IMAGE).is_ok());
        let other = module.render(&given(&[("message", "a")]), Digest([8; 32]));
        assert!(matches!(other, Err(RenderError::OtherImage { .. })));
    }

    #[test]
    fn allowed_characters_are_sets_of_ranges() {
        for (set, yes, no) in
            [("a-z", "az", "A-"), ("a-z-", "-m", "_"), ("-a", "-a", "b"), ("a-zA-Z0-9 .", "Q 7.", "!")]
        {
            assert!(yes.chars().all(|c| in_set(set, c)), "{set:?} should allow {yes:?}");
            assert!(!no.chars().filter(|c| *c != '-').any(|c| in_set(set, c)), "{set:?} should refuse {no:?}");
        }
    }

    #[test]
    fn module_files_that_contradict_themselves_are_refused() {
        let cases = [
            ("schema = 1", "schema = 2", "schema is 2"),
            ("name = \"cowsay\"\n", "name = \"../x\"\n", "`name`"),
            ("class = \"none\"", "class = \"none\"\nshell = true", "cannot be read"),
            ("\"{{ inputs.message }}\"", "\"say {{ inputs.message }}\"", "is not used in argv"),
            (
                "\"{{ inputs.message }}\"",
                "\"{{ inputs.message }}\", \"{{ inputs.nope }}\"",
                "`nope`, which is no input",
            ),
            ("\"{{ inputs.message }}\"", "\"{{ inputs.message }}\", \"{% x %}\"", "substitution is a whole argument"),
            ("\"/usr/games/cowsay\"", "\"{{ inputs.message }}\"", "cannot be an input"),
            ("default = \"40\"", "default = \"0\"", "default is not within"),
            ("required = true", "required = true\nmin = 3", "belongs to another type"),
            ("memory_mib = 256", "memory_mib = 0", "module"),
            ("LANG = ", "\"LANG=X\" = ", "module"),
        ];
        for (from, to, expected) in cases {
            assert!(COWSAY.contains(from), "{from:?} is in the file");
            let error = Module::parse(&COWSAY.replacen(from, to, 1)).expect_err(to).to_string();
            assert!(error.contains(expected), "{to:?}: {error}");
        }
    }

    proptest! {
        /// Whatever is typed, it is one argument at its place, or it is refused.
        #[test]
        fn no_value_changes_the_shape_of_the_command(value in ".{0,60}") {
            if let Ok(job) = module().render(&given(&[("message", &value)]), IMAGE) {
                prop_assert_eq!(job.argv.len(), 7);
                prop_assert_eq!(&job.argv[..6], ["/usr/games/cowsay", "-W", "40", "-f", "default", "--"].as_slice());
                prop_assert_eq!(&job.argv[6], &value);
            }
        }
    }
}
