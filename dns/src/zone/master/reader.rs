//! Entries to records: directives, owner names, TTLs and classes (RFC 1035 §5.1, RFC 2308 §4).

use std::path::{Path, PathBuf};

use meridian_config::{Diagnostic, Diagnostics, Name, Ttl};

use super::{
    Location, MasterFile, RawRecord, Source, conflicts,
    generate::Generator,
    include::Folder,
    lex::{Lexer, Token, unescape},
    mistake,
    names::push_name,
    problem::{Expected, Fault, Problem, Shown},
    rdata::{self, Input},
    remedy::remedy,
    text::{Limits, SourceText},
    words::{Head, Words, bad_name, head, parse_ttl, word},
};
use crate::types::rtype::{SOA, parse_type};

/// How deep files may include each other.
const MAX_DEPTH: usize = 10;
/// How many files a zone may include.
const MAX_INCLUDES: usize = 1000;
/// How many mistakes are told.
const MAX_MISTAKES: usize = 100;

/// The owner name that a line without one repeats.
#[derive(Clone)]
enum Owner {
    /// None has been read yet.
    None,
    /// The last one had a mistake, which has been told.
    Unknown,
    Known(Name),
}

/// What is in force while one file is read.
struct Frame {
    source: u32,
    origin: Name,
    owner: Owner,
    /// Place that all records are said to stand at: of the line that generates them.
    place: Option<Location>,
}

/// Collects the records of one zone and the mistakes in it.
pub(super) struct Reader<'z> {
    apex: &'z Name,
    folder: Option<Folder<'z>>,
    limits: Limits,
    files: Vec<PathBuf>,
    sources: Vec<Source>,
    /// Real paths of the files being read, outermost first.
    open: Vec<PathBuf>,
    records: Vec<RawRecord>,
    mistakes: Vec<(Location, Diagnostic)>,
    /// `$TTL`, or the MINIMUM of an SOA read without a TTL.
    default_ttl: Option<u32>,
    /// The last TTL stated.
    last_ttl: Option<u32>,
    octets: usize,
    includes: usize,
    generated: usize,
    generated_octets: usize,
    scratch: Vec<u8>,
}

impl<'z> Reader<'z> {
    pub(super) fn new(apex: &'z Name, folder: Option<Folder<'z>>, limits: Limits) -> Self {
        Self {
            apex,
            folder,
            limits,
            files: Vec::new(),
            sources: Vec::new(),
            open: Vec::new(),
            records: Vec::new(),
            mistakes: Vec::new(),
            default_ttl: None,
            last_ttl: None,
            octets: 0,
            includes: 0,
            generated: 0,
            generated_octets: 0,
            scratch: Vec::new(),
        }
    }

    /// Reads the zone file itself.
    pub(super) fn whole(&mut self, path: &Path, text: SourceText) {
        self.source(path.to_path_buf(), text, self.apex.clone(), Owner::None);
    }

    /// Judges the zone as a whole, and hands out all of it or all mistakes.
    pub(super) fn finish(mut self) -> Result<MasterFile, Diagnostics> {
        let complete = self.mistakes.is_empty();
        for (at, conflict) in conflicts::resolve(&mut self.records, self.apex, complete) {
            if self.is_full() {
                break;
            }
            let help = conflict.remedy().into();
            let told = mistake(&self.sources, at, conflict.to_string(), help);
            self.mistakes.push((at, told));
        }
        if self.mistakes.is_empty() {
            return Ok(MasterFile {
                records: self.records,
                files: self.files,
                sources: self.sources,
            });
        }
        let full = self.is_full();
        self.mistakes.sort_by_key(|(at, _)| *at);
        let mut told: Vec<_> = self.mistakes.into_iter().map(|(_, told)| told).collect();
        if full && let Some(file) = self.files.into_iter().next() {
            let message = format!("reading stopped after {MAX_MISTAKES} mistakes");
            told.push(Diagnostic::of_file(file, message, "mend these first"));
        }
        Err(Diagnostics(told))
    }

    fn is_full(&self) -> bool {
        self.mistakes.len() >= MAX_MISTAKES
    }

    fn tell(&mut self, frame: &Frame, fault: &Fault) {
        let at = frame
            .place
            .unwrap_or_else(|| location(frame.source, fault.span));
        let message = fault.problem.to_string();
        let told = mistake(&self.sources, at, message, remedy(&fault.problem));
        self.mistakes.push((at, told));
    }

    /// Reads one text to its end.
    fn source(&mut self, file: PathBuf, text: SourceText, origin: Name, owner: Owner) {
        let frame = &mut Frame {
            source: u32::try_from(self.sources.len()).unwrap_or(u32::MAX),
            origin,
            owner,
            place: None,
        };
        if !self.files.contains(&file) {
            self.files.push(file.clone());
        }
        self.octets += text.shown.len();
        self.sources.push(Source {
            file,
            text: text.shown.clone(),
            stamp: text.stamp,
            hash: text.hash,
        });
        let octets = text.octets();
        let mut lexer = Lexer::new(octets);
        let mut tokens = Vec::new();
        while !self.is_full() {
            match lexer.next_entry(&mut tokens) {
                Ok(None) => break,
                Ok(Some(blank)) => {
                    if let Err(fault) = self.entry(frame, octets, &tokens, blank) {
                        self.tell(frame, &fault);
                    }
                }
                Err(fault) => {
                    frame.owner = Owner::Unknown;
                    self.tell(frame, &fault);
                }
            }
        }
    }

    fn entry(
        &mut self,
        frame: &mut Frame,
        text: &[u8],
        tokens: &[Token],
        blank: bool,
    ) -> Result<(), Fault> {
        let Some((first, rest)) = tokens.split_first() else {
            return Ok(());
        };
        let word = first.text(text);
        if blank || first.quoted || !word.starts_with(b"$") {
            return self.record(frame, text, tokens, blank);
        }
        let mut words = Words {
            text,
            tokens: rest,
            end: tokens.last().map_or(0, |last| last.span().1),
        };
        match word.to_ascii_uppercase().as_slice() {
            b"$ORIGIN" => {
                frame.origin = words.name(&frame.origin, Expected::Name)?;
                words.finish()
            }
            b"$TTL" => {
                let ttl = words.next(Expected::Period)?;
                self.default_ttl = Some(parse_ttl(ttl, text)?);
                words.finish()
            }
            b"$INCLUDE" => self.include(frame, &mut words),
            b"$GENERATE" => self.generate(frame, &words),
            _ => Err(Fault::new(
                first.span(),
                Problem::UnknownDirective(Shown::new(word)),
            )),
        }
    }

    /// RFC 1035 §5.1: "$INCLUDE inserts the named file into the current file, and may optionally
    /// specify a domain name that sets the relative domain name origin for the included file";
    /// it "never changes the relative origin of the parent file".
    fn include(&mut self, frame: &Frame, words: &mut Words<'_>) -> Result<(), Fault> {
        let token = words.next(Expected::FileName)?;
        let origin = match words.tokens {
            [] => frame.origin.clone(),
            _ => words.name(&frame.origin, Expected::Name)?,
        };
        words.finish()?;
        let fault = |problem| Fault::new(token.span(), problem);
        let mut name = Vec::new();
        unescape(token.text(words.text), &mut name).ok_or_else(|| fault(Problem::BadEscape))?;
        let folder = self
            .folder
            .as_mut()
            .ok_or_else(|| fault(Problem::IncludeNowhere))?;
        // Found out only now: most zones include nothing.
        if self.open.is_empty()
            && let Some(real) = self.files.first().and_then(|whole| folder.real(whole))
        {
            self.open.push(real);
        }
        let (path, real) = folder.resolve(&name).map_err(fault)?;
        if self.open.contains(&real) {
            return Err(fault(Problem::IncludeLoop(Shown::new(&name))));
        }
        if self.open.len() > MAX_DEPTH {
            return Err(fault(Problem::IncludeDepth(MAX_DEPTH)));
        }
        self.includes += 1;
        if self.includes > MAX_INCLUDES {
            return Err(fault(Problem::IncludeCount(MAX_INCLUDES)));
        }
        let left = self.limits.octets.saturating_sub(self.octets);
        let octets = folder
            .read(&real, left)
            .map_err(|reason| fault(Problem::IncludeUnreadable(Shown::new(&name), reason)))?;
        self.open.push(real);
        // RFC 1035 §5.1: a line that begins with a blank is owned "by the last stated owner".
        self.source(path, SourceText::new(octets), origin, frame.owner.clone());
        self.open.pop();
        Ok(())
    }

    fn generate(&mut self, frame: &mut Frame, words: &Words<'_>) -> Result<(), Fault> {
        let missing = |expected| Fault::new((words.end, words.end), Problem::Missing(expected));
        let (range, owner, rest) = match words.tokens {
            [] => return Err(missing(Expected::Range)),
            [_] => return Err(missing(Expected::Owner)),
            [range, owner, rest @ ..] => (range, owner, rest),
        };
        let is_type = |token: &Token| word(token, words.text).and_then(parse_type).is_some();
        let head = rest
            .iter()
            .position(is_type)
            .ok_or_else(|| missing(Expected::Type))?
            + 1;
        let (middle, data) = rest.split_at(head);
        let generator = Generator::new(words.text, range, owner, middle, data)?;
        if generator.count() > self.limits.generated - self.generated {
            let most = self.limits.generated;
            return Err(Fault::new(range.span(), Problem::GenerateCount(most)));
        }
        self.generated += generator.count();
        let place = (range.span().0, words.end);
        let inner = &mut Frame {
            source: frame.source,
            origin: frame.origin.clone(),
            owner: Owner::None,
            place: Some(location(frame.source, place)),
        };
        let mut tokens = Vec::new();
        for number in generator.numbers() {
            let line = generator
                .line(number)
                .map_err(|problem| Fault::new(place, problem))?;
            self.generated_octets += line.len();
            if self.generated_octets > self.limits.generated_octets {
                let most = self.limits.generated_octets;
                return Err(Fault::new(place, Problem::GenerateOctets(most)));
            }
            let read = Lexer::new(&line)
                .next_entry(&mut tokens)
                .and_then(|_| self.record(inner, &line, &tokens, false));
            // The first mistake is enough: the others would be the same.
            read.map_err(|fault| {
                Fault::new(place, Problem::Generated(number, Box::new(fault.problem)))
            })?;
        }
        frame.owner = Owner::Unknown;
        Ok(())
    }

    /// RFC 1035 §5.1: `[<domain-name>] [<TTL>] [<class>] <type> <RDATA>`, TTL and class in either
    /// order.
    fn record(
        &mut self,
        frame: &mut Frame,
        text: &[u8],
        tokens: &[Token],
        blank: bool,
    ) -> Result<(), Fault> {
        let rest = if blank {
            tokens
        } else {
            self.owner(frame, text, tokens)?
        };
        let end = tokens.last().map_or(0, |last| last.span().1);
        let Head { ttl, rtype, rest } = head(text, rest, end)?;
        let owner = match &frame.owner {
            Owner::Known(name) => name,
            Owner::Unknown => return Ok(()),
            Owner::None => {
                let place = tokens.first().map_or((0, 0), Token::span);
                frame.owner = Owner::Unknown;
                return Err(Fault::new(place, Problem::NoOwner));
            }
        };
        let type_end = end_of_head(tokens, rest);
        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        let read = rdata::read(
            rtype,
            &mut Input::new(text, rest, end, &frame.origin),
            &mut data,
        );
        self.scratch = data;
        read?;
        let place = (tokens.first().map_or(0, |first| first.span().0), type_end);
        let ttl = self.ttl(ttl, rtype).ok_or_else(|| {
            // Told once; the zone is refused anyway.
            self.default_ttl = Some(0);
            Fault::new(place, Problem::NoTtl)
        })?;
        self.records.push(RawRecord {
            owner: owner.clone(),
            ttl: Ttl(ttl),
            rtype,
            rdata: self.scratch.as_slice().into(),
            at: frame.place.unwrap_or_else(|| location(frame.source, place)),
        });
        Ok(())
    }

    /// Takes the owner name from the front of the tokens.
    fn owner<'k>(
        &mut self,
        frame: &mut Frame,
        text: &'k [u8],
        tokens: &'k [Token],
    ) -> Result<&'k [Token], Fault> {
        frame.owner = Owner::Unknown;
        let mut words = Words {
            text,
            tokens,
            end: 0,
        };
        let (token, word) = words.unquoted(Expected::Owner)?;
        self.scratch.clear();
        frame.owner = push_name(word, &frame.origin, &mut self.scratch)
            .and_then(|()| Name::from_wire(&self.scratch))
            .map(Owner::Known)
            .map_err(|error| bad_name(&token, word, error))?;
        Ok(words.tokens)
    }

    /// The TTL in force; the module's documentation has the rules.
    fn ttl(&mut self, stated: Option<u32>, rtype: u16) -> Option<u32> {
        if stated.is_some() {
            self.last_ttl = stated;
            return stated;
        }
        if self.default_ttl.is_none() && self.last_ttl.is_none() && rtype == SOA {
            let minimum = self.scratch.last_chunk().copied().map(u32::from_be_bytes);
            self.default_ttl = minimum.map(|seconds| seconds.min(0x7fff_ffff));
        }
        self.default_ttl.or(self.last_ttl)
    }
}

/// End of the last token before `rest`, which is the tail of `tokens`.
fn end_of_head(tokens: &[Token], rest: &[Token]) -> usize {
    let head = tokens.len().saturating_sub(rest.len() + 1);
    tokens.get(head).map_or(0, |last| last.span().1)
}

fn location(source: u32, (start, end): (usize, usize)) -> Location {
    let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Location {
        source,
        start: narrow(start),
        end: narrow(end),
    }
}
