//! Plays a transcript: as written, octet by octet and at random splits.

use std::path::Path;

use super::file::{self, Action, Expected, File, Step};
use super::{Adapter, RANDOM_PLAYS, Side, diff, escape};
use crate::session::{CloseReason, Layer, LayerError, LayerInfo, Output, Session};
use crate::testkit::driven::{Asked, Driven, epoch};
use crate::testkit::random::Random;

/// `after:` may lead through this many files.
const PRELUDES: usize = 8;

/// Something the session did.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Sent(Vec<u8>),
    Asked { asked: Asked, answer: Option<String>, usual: bool },
    Layer(Layer, Option<String>),
    Event(String),
    Closed(CloseReason),
}

/// How input is cut.
enum Split {
    Whole,
    Each,
    Random(Random),
}

impl Split {
    fn next(&mut self) -> usize {
        match self {
            Split::Whole => usize::MAX,
            Split::Each => 1,
            Split::Random(random) => {
                let most = [2, 7, 40, 600][random.below(4)];
                1 + random.below(most)
            }
        }
    }
}

/// Compares a session with a transcript; answers the text with its expected lines made true when `bless` is set.
pub(super) fn check<A: Adapter>(
    adapter: &mut A,
    text: &str,
    directory: Option<&Path>,
    bless: bool,
) -> Result<String, String> {
    let file = file::parse(text, A::SIDE)?;
    let prelude = prelude(&file, directory, A::SIDE)?;
    let one_way = file.header.value("splits").is_some_and(|splits| splits.starts_with("none"));
    let whole = run(adapter, &file, &prelude, &mut Split::Whole)?;
    let unused = file.header.unused();
    if !unused.is_empty() {
        return Err(format!("the header has keys nobody asks for: {}", unused.join(", ")));
    }
    if !bless {
        compare(&file, &whole, A::SIDE)?;
    }
    if !one_way {
        let ways = (0..RANDOM_PLAYS).map(|seed| Split::Random(Random::new(seed)));
        for (at, mut split) in std::iter::once(Split::Each).chain(ways).enumerate() {
            let way = if at == 0 { "octet by octet".into() } else { format!("at random splits {at}") };
            let split =
                run(adapter, &file, &prelude, &mut split).map_err(|report| format!("played {way}: {report}"))?;
            same(&file, &whole, &split, A::SIDE).map_err(|report| format!("played {way}: {report}"))?;
        }
    }
    Ok(if bless { blessed(&file, &whole, A::SIDE) } else { text.to_owned() })
}

/// What the peer sends.
pub(super) fn input(text: &str, directory: Option<&Path>, side: Side) -> Result<Vec<u8>, String> {
    let file = file::parse(text, side)?;
    let mut octets = Vec::new();
    for step in prelude(&file, directory, side)?.iter().chain(&file.steps) {
        if let Action::Input(input) = &step.action {
            octets.extend_from_slice(input);
        }
    }
    Ok(octets)
}

/// The steps of the files named by `after:`, first ones first.
fn prelude(file: &File, directory: Option<&Path>, side: Side) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut next = file.header.value("after").map(str::to_owned);
    let mut depth = 0;
    while let Some(name) = next {
        depth += 1;
        if depth > PRELUDES {
            return Err("after: leads in a circle".into());
        }
        let path = directory.ok_or("after: needs a file")?.join(&name);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("after: {}: {error}", path.display()))?;
        let before = file::parse(&text, side).map_err(|report| format!("after: {name}: {report}"))?;
        next = before.header.value("after").map(str::to_owned);
        steps.splice(0..0, before.steps);
    }
    // The session is made once, by the first of all files.
    let mut started = false;
    steps.retain(|step| step.action != Action::Start || !std::mem::replace(&mut started, true));
    Ok(steps)
}

/// Plays all steps; answers what each of the file's own brought.
fn run<A: Adapter>(
    adapter: &mut A,
    file: &File,
    prelude: &[Step],
    split: &mut Split,
) -> Result<Vec<Vec<Heard>>, String> {
    let session = adapter.session(&file.header);
    let mut play = Play { adapter, driven: Driven::new(session, epoch()), out: Out::Nothing, stalled: false };
    for step in prelude {
        play.step(step, split).map_err(|report| format!("before the first step: {report}"))?;
    }
    let mut all = Vec::new();
    for step in &file.steps {
        if step.action == Action::Start && !prelude.is_empty() {
            all.push(Vec::new());
            continue;
        }
        let heard = play.step(step, split);
        all.push(heard.map_err(|report| format!("line {}: {report}\n    {}", step.line, step.text.join("\n    ")))?);
    }
    Ok(all)
}

/// What waits for an answer.
enum Out<R> {
    Nothing,
    Question(R),
    Layer,
}

struct Play<'a, A: Adapter> {
    adapter: &'a mut A,
    driven: Driven<A::Session>,
    out: Out<<A::Session as Session>::Request>,
    stalled: bool,
}

impl<A: Adapter> Play<'_, A> {
    fn step(&mut self, step: &Step, split: &mut Split) -> Result<Vec<Heard>, String> {
        if let Some(reason) = self.driven.closed() {
            return Err(format!("the session has ended before this: Close({reason:?})"));
        }
        let mut heard = Vec::new();
        let mut script = step.expected.iter().filter(|expected| expected.line.starts_with(['?', 'L']));
        match &step.action {
            Action::Start => {}
            Action::Input(octets) => self.driven.input.extend(octets),
            Action::News(text) => {
                let news = self.adapter.news(text)?;
                self.driven.session.notify(news);
            }
            Action::Answer(text) => self.answer(text)?,
            Action::Pass(time) => {
                let until = self.driven.now() + *time;
                while self.driven.closed().is_none() && self.driven.sleep_until(until) {
                    self.settle(&mut script, split, &mut heard)?;
                }
            }
            Action::End => self.driven.ending = true,
            Action::Reset => self.driven.reset(),
            Action::Shutdown => self.driven.session.shutdown(),
            Action::Stall => self.stalled = true,
            Action::Drain => {
                self.stalled = false;
                self.driven.unsent = 0;
            }
        }
        if self.driven.closed().is_none() {
            self.settle(&mut script, split, &mut heard)?;
        }
        Ok(heard)
    }

    /// Polls until the session waits and takes no more input.
    fn settle<'s>(
        &mut self,
        script: &mut impl Iterator<Item = &'s Expected>,
        split: &mut Split,
        heard: &mut Vec<Heard>,
    ) -> Result<(), String> {
        loop {
            match self.driven.poll() {
                Output::Send(octets) => {
                    if self.stalled {
                        self.driven.unsent += octets.len();
                    }
                    match heard.last_mut() {
                        Some(Heard::Sent(sent)) => sent.extend_from_slice(&octets),
                        _ => heard.push(Heard::Sent(octets.to_vec())),
                    }
                }
                Output::Request(request) => self.question(request, script, heard)?,
                Output::Layer(layer) => {
                    let answer = scripted(script, &format!("L {layer:?}"), || Some("up".into()));
                    self.out = Out::Layer;
                    heard.push(Heard::Layer(layer, answer.clone()));
                    if let Some(text) = answer {
                        self.answer(&text)?;
                    }
                }
                Output::Event(event) => heard.extend(self.adapter.event(&event).map(Heard::Event)),
                Output::Wait(_) => {
                    if !self.driven.feed(split.next()) {
                        return Ok(());
                    }
                }
                Output::Close(reason) => {
                    heard.push(Heard::Closed(reason));
                    return Ok(());
                }
            }
        }
    }

    fn question<'s>(
        &mut self,
        request: <A::Session as Session>::Request,
        script: &mut impl Iterator<Item = &'s Expected>,
        heard: &mut Vec<Heard>,
    ) -> Result<(), String> {
        let asked = self.adapter.asked(&request);
        let last = heard.iter_mut().rev().find_map(|heard| match heard {
            Heard::Asked { asked, answer, .. } => Some((asked, answer)),
            _ => None,
        });
        let answer = match (&asked, last) {
            // Pieces in a row are one line, and have one answer.
            (Asked::Piece(name, octets), Some((Asked::Piece(before, gathered), answer))) if name == before => {
                *gathered = [gathered.as_ref(), octets.as_ref()].concat().into();
                answer.clone()
            }
            _ => {
                let usual = self.adapter.usual(&request);
                let answer = scripted(script, &question_line(&asked), || usual.clone());
                heard.push(Heard::Asked { asked, usual: usual == answer, answer: answer.clone() });
                answer
            }
        };
        self.out = Out::Question(request);
        answer.map_or(Ok(()), |text| self.answer(&text))
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        match std::mem::replace(&mut self.out, Out::Nothing) {
            Out::Nothing => return Err(format!("nothing is out to be answered: ! {text}")),
            Out::Question(request) => {
                let answered = self.adapter.answer(request, text)?;
                self.driven.resume(answered);
            }
            Out::Layer => self.driven.layered(layer(text)?),
        }
        Ok(())
    }
}

/// The answer the file gives to this question, or the usual one when the file does not know the question.
fn scripted<'s>(
    script: &mut impl Iterator<Item = &'s Expected>,
    line: &str,
    usual: impl FnOnce() -> Option<String>,
) -> Option<String> {
    let name = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    match script.next() {
        Some(expected) if name(&expected.line) == name(line) => expected.answer.clone(),
        _ => usual(),
    }
}

/// `up key=value…`, `handshake` or `unavailable`.
fn layer(text: &str) -> Result<Result<LayerInfo, LayerError>, String> {
    let mut words = text.split_whitespace();
    match words.next() {
        Some("handshake") => return Ok(Err(LayerError::Handshake)),
        Some("unavailable") => return Ok(Err(LayerError::Unavailable)),
        Some("up") => {}
        _ => return Err(format!("a layer is up, handshake or unavailable, not {text}")),
    }
    let mut info = LayerInfo::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word} is not key=value"))?;
        match key {
            "version" => info.version = Some(value.to_owned().leak()),
            "cipher" => info.cipher = Some(value.to_owned().leak()),
            "name" => info.server_name = Some(value.to_owned()),
            "exporter" => {
                let mut exporter = [0; 32];
                let octets = hexadecimal(value)?;
                exporter.iter_mut().zip(octets.iter().cycle()).for_each(|(to, from)| *to = *from);
                info.exporter = Some(exporter);
            }
            "endpoint" => info.end_point = Some(hexadecimal(value)?.into()),
            "certificate" => info.peer_certificate = Some(hexadecimal(value)?.into()),
            _ => return Err(format!("{key}: known are version cipher name exporter endpoint certificate")),
        }
    }
    Ok(Ok(info))
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    digits
        .collect::<Option<_>>()
        .filter(|octets: &Vec<u8>| !octets.is_empty())
        .ok_or_else(|| format!("{text} is not hexadecimal"))
}

fn question_line(asked: &Asked) -> String {
    match asked {
        Asked::Whole(text) => format!("? {text}"),
        Asked::Piece(name, octets) => format!("? {name} \"{}\"", escape::render(octets)),
    }
}

/// What was heard as lines, each with its answer.
fn lines(heard: &[Heard], side: Side) -> Vec<(String, Option<String>)> {
    let mark = side.sent_by_session();
    let mut lines = Vec::new();
    for heard in heard {
        match heard {
            Heard::Sent(octets) => lines.extend(sent_lines(octets, mark).into_iter().map(|line| (line, None))),
            Heard::Asked { asked, answer, .. } => lines.push((question_line(asked), answer.clone())),
            Heard::Layer(layer, answer) => lines.push((format!("L {layer:?}"), answer.clone())),
            Heard::Event(text) => lines.push((format!("= {text}"), None)),
            Heard::Closed(reason) => lines.push((format!("= Close({reason:?})"), None)),
        }
    }
    lines
}

fn sent_lines(octets: &[u8], mark: char) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, behind) = rest.split_at(end);
        rest = behind;
        let text = line.strip_suffix(b"\r\n").and_then(|text| std::str::from_utf8(text).ok());
        let plain = text.filter(|text| !text.contains(char::is_control) && !text.ends_with(' ') && text.len() < 1000);
        lines.push(match plain {
            Some("") => format!("{mark}:"),
            Some(text) => format!("{mark}: {text}"),
            None => format!("{mark}~ {}", escape::render(line)),
        });
    }
    lines
}

/// Compares the file's lines with what was heard.
fn compare(file: &File, heard: &[Vec<Heard>], side: Side) -> Result<(), String> {
    for (step, heard) in file.steps.iter().zip(heard) {
        let expected: Vec<String> = step.expected.iter().map(|expected| expected.line.clone()).collect();
        let found: Vec<String> = lines(heard, side).into_iter().map(|(line, _)| line).collect();
        let same = expected.len() == found.len() && expected.iter().zip(&found).all(|(e, f)| diff::matches(e, f));
        if !same {
            let action = step.text.join("\n    ");
            return Err(format!(
                "line {}\n    {action}\nbrings (- expected, + found; BLESS=1 rewrites the file)\n{}",
                step.line,
                diff::lines(&expected, &found)
            ));
        }
    }
    Ok(())
}

/// Compares what two plays heard, stream by stream: how replies and questions interleave may depend on the splits.
fn same(file: &File, whole: &[Vec<Heard>], split: &[Vec<Heard>], side: Side) -> Result<(), String> {
    for ((step, whole), split) in file.steps.iter().zip(whole).zip(split) {
        let silent = |heard: &Heard| matches!(heard, Heard::Asked { asked: Asked::Piece(..), answer: None, .. });
        if whole.iter().any(silent) {
            // How much of a body a store was shown before it fell silent depends on the splits, and so does all after.
            return Ok(());
        }
        let (whole, split) = (streams(whole, side), streams(split, side));
        if whole != split {
            return Err(format!(
                "line {}: otherwise than as written (- as written, + split)\n{}",
                step.line,
                diff::lines(&whole, &split)
            ));
        }
    }
    Ok(())
}

fn streams(heard: &[Heard], side: Side) -> Vec<String> {
    let mut sent = Vec::new();
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for heard in heard {
        match heard {
            Heard::Sent(octets) => sent.extend_from_slice(octets),
            // A refusal comes after the first piece, and how long that is depends on the splits.
            Heard::Asked { asked: Asked::Piece(name, _), usual: false, .. } => asked.push(format!("? {name} …")),
            Heard::Asked { asked: question, .. } => asked.push(question_line(question)),
            Heard::Layer(layer, _) => asked.push(format!("L {layer:?}")),
            Heard::Event(text) => told.push(format!("= {text}")),
            Heard::Closed(reason) => told.push(format!("= Close({reason:?})")),
        }
    }
    [sent_lines(&sent, side.sent_by_session()), asked, told].concat()
}

/// The file's text with its expected lines made true.
fn blessed(file: &File, heard: &[Vec<Heard>], side: Side) -> String {
    let mut text: Vec<String> = Vec::new();
    for (step, heard) in file.steps.iter().zip(heard) {
        text.extend(step.text.iter().cloned());
        let found = lines(heard, side);
        let mut old = step.expected.iter().peekable();
        for (line, answer) in found {
            // The old line for this one, if there is one further on: its comments and its `…` are kept.
            let kept = old.clone().position(|expected| diff::matches(&expected.line, &line));
            let mut written = line;
            if let Some(skipped) = kept {
                for expected in old.by_ref().take(skipped + 1) {
                    text.extend(expected.comments.iter().cloned());
                    if diff::matches(&expected.line, &written) {
                        written.clone_from(&expected.line);
                    }
                }
            }
            text.push(match answer {
                Some(answer) => format!("{written}  ! {answer}"),
                None => written,
            });
        }
        text.extend(old.flat_map(|expected| expected.comments.iter().cloned()));
    }
    text.extend(file.tail.iter().cloned());
    text.join("\n") + "\n"
}
