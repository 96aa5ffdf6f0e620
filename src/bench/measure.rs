//! One test of one model: prompt tokens, generated tokens, or both, at a depth, of one text or several.
//!
//! A test has memory of its own, made for it as llama-bench makes a context for each. A first run that does not count compiles the kernels;
//! then each repetition begins with the same text in the cache, which is not timed.

use std::sync::Arc;
use std::time::Duration;

use web_time::Instant;

use super::BenchError;
use super::text::synthetic;
use super::traffic::{Cost, Traffic};
use crate::generate::{GenerateOptions, generate_together};
use crate::gpu::{Counters, GpuError, KernelTime, PassTimes, Timed};
use crate::kv::{KvError, Policy, Preset, Ring};
use crate::model::Model;
use crate::session::{KvReport, Pool, Session, SessionError, SessionOptions};

/// Generated tokens of the run that does not count, at most: two submits of the largest size.
const MOST_WARM: u32 = 32;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Test {
    /// Prompt tokens, of each text.
    pub n_prompt: u32,
    /// Generated tokens, of each text.
    pub n_gen: u32,
    /// Tokens in the cache before.
    pub n_depth: u32,
    /// Texts that go on at the same time.
    pub batch: u32,
}

impl Test {
    /// Its name, as llama-bench writes it.
    pub fn name(&self) -> String {
        let Self { n_prompt, n_gen, n_depth, .. } = self;
        let mut name = match (n_prompt, n_gen) {
            (_, 0) => format!("pp{n_prompt}"),
            (0, _) => format!("tg{n_gen}"),
            _ => format!("pp{n_prompt}+tg{n_gen}"),
        };
        if *n_depth > 0 {
            name.push_str(&format!(" @ d{n_depth}"));
        }
        name
    }

    /// Tokens timed, of all texts.
    pub fn tokens(&self) -> u64 {
        (u64::from(self.n_prompt) + u64::from(self.n_gen)) * u64::from(self.batch)
    }

    /// Positions that a text needs: one token before a generation, and one after it.
    fn positions(&self) -> u32 {
        [self.n_prompt, self.n_gen, 2].iter().fold(self.n_depth, |sum, n| sum.saturating_add(*n))
    }
}

/// How it is timed.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Runs that count.
    pub repetitions: u32,
    /// Whether a run that does not count goes first.
    pub warmup: bool,
    /// Tokens of a segment in the synthetic text.
    pub segment: u32,
    /// Seed of the synthetic text.
    pub seed: u64,
    /// How sessions are laid out.
    pub session: SessionOptions,
    /// Seconds of processor time of this process so far, where the system says.
    pub cpu_seconds: Option<fn() -> f64>,
    /// Whether the kernels are timed one by one as well, in a run of its own.
    pub profile: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The test.
    pub test: Test,
    /// Time of each repetition.
    pub times: Vec<Duration>,
    /// Processor seconds of all repetitions.
    pub cpu_seconds: Option<f64>,
    /// How long the device says it worked in all repetitions.
    pub device: Option<Duration>,
    /// Dispatches of all repetitions.
    pub dispatches: u64,
    /// Submits of all repetitions.
    pub submits: u64,
    /// Mean time from the beginning of the prompt to the first token.
    pub first_token: Option<Duration>,
    /// What one repetition costs by formula.
    pub traffic: Traffic,
    /// What the cache of one text holds at the end.
    pub kv: KvReport,
    /// The kernels of one repetition, the longest first; empty where they were not timed, or the device has no timestamps.
    pub kernels: Vec<KernelTime>,
}

/// `policy`, with room for the test: the capacity of `full` is what it needs, whatever the model was trained for, as time does not depend on it.
pub fn with_room(policy: &Policy, test: &Test) -> Policy {
    let mut policy = policy.clone();
    if let (Preset::Full, Some(limit)) = (policy.preset, policy.limit) {
        let positions = test.positions();
        if policy.window == limit {
            policy.window = positions;
        }
        policy.limit = Some(positions);
    }
    policy
}

/// Times a test. `progress` is told runs done and runs in all.
///
/// # Errors
/// Memory that the device has not, a text that the policy or the model ends before all tokens are made, a profile of more dispatches than
/// can be timed, the device.
pub async fn measure(
    model: &Arc<Model>,
    policy: &Policy,
    test: Test,
    method: &Method,
    progress: &mut dyn FnMut(u32, u32),
) -> Result<Measured, BenchError> {
    if test.tokens() == 0 || method.repetitions == 0 {
        let (field, value) = if test.tokens() == 0 {
            ("tokens of a test", test.tokens())
        } else {
            ("repetitions", method.repetitions.into())
        };
        return Err(BenchError::Setting { field, value: value.to_string(), need: "at least 1".to_owned() });
    }
    let mut bench = Bench::new(model, policy, test, method).await?;
    let all = method.repetitions + u32::from(method.warmup) + u32::from(method.profile);
    if method.warmup {
        let warm = Test { n_gen: test.n_gen.min(MOST_WARM), ..test };
        bench.run(warm, Timed::Submits).await?;
        progress(1, all);
    }
    let mut runs = Vec::new();
    for run in 1..=method.repetitions {
        runs.push(bench.run(test, Timed::Submits).await?);
        progress(run + u32::from(method.warmup), all);
    }
    let traffic = bench.traffic(runs.last())?;
    let kv = bench.kv();
    let mut kernels = Vec::new();
    if method.profile {
        kernels = bench.run(test, Timed::Dispatches).await?.kernels;
        progress(all, all);
    }
    let sum = |seconds: fn(&Run) -> Option<f64>| runs.iter().map(seconds).sum::<Option<f64>>();
    let first: Option<Duration> = runs.iter().map(|run| run.first_token).sum();
    Ok(Measured {
        test,
        times: runs.iter().map(|run| run.time).collect(),
        cpu_seconds: sum(|run| run.cpu_seconds),
        device: runs.iter().map(|run| run.device).sum(),
        dispatches: runs.iter().map(|run| run.dispatches).sum(),
        submits: runs.iter().map(|run| run.submits).sum(),
        first_token: first.map(|sum| sum / method.repetitions),
        traffic,
        kv,
        kernels,
    })
}

/// Sessions, and what they begin with.
struct Bench<'a> {
    model: &'a Arc<Model>,
    method: &'a Method,
    sessions: Vec<Session>,
    /// Holds what is in the cache before, where that is copied.
    filled: Option<Session>,
    /// Read before, and not timed.
    before: Vec<u32>,
    prompt: Vec<u32>,
}

/// One repetition.
struct Run {
    time: Duration,
    cpu_seconds: Option<f64>,
    device: Option<Duration>,
    dispatches: u64,
    submits: u64,
    first_token: Option<Duration>,
    /// Tokens that steps have consumed, of the first text.
    consumed: Vec<u32>,
    kernels: Vec<KernelTime>,
}

impl<'a> Bench<'a> {
    async fn new(
        model: &'a Arc<Model>,
        policy: &Policy,
        test: Test,
        method: &'a Method,
    ) -> Result<Self, BenchError> {
        let pool = Pool::new(model, policy, method.session, test.batch.max(1)).await?;
        let mut sessions = Vec::new();
        for _ in 0..test.batch.max(1) {
            sessions.push(pool.session().await?);
        }
        // A text that is only generated begins with one token.
        let before = if test.n_prompt == 0 { test.n_depth.max(1) } else { test.n_depth };
        let ids =
            synthetic(model.config().vocab_size, policy, method.segment, method.seed, before + test.n_prompt);
        let (before, prompt) = ids.split_at(before as usize);
        let mut bench =
            Self { model, method, sessions, filled: None, before: before.to_vec(), prompt: prompt.to_vec() };
        // A copy of what lives is cheaper than reading it again, but for the shortest of texts.
        if bench.before.len() > 1 {
            bench.fill().await?;
        }
        Ok(bench)
    }

    /// Reads what is in the cache before, once; without room for a copy it is read before every run.
    async fn fill(&mut self) -> Result<(), BenchError> {
        let Some(first) = self.sessions.first_mut() else { return Ok(()) };
        first.append(&self.before).await?;
        self.filled = match first.fork().await {
            Ok(fork) => Some(fork),
            Err(SessionError::Gpu(GpuError::Allocation { .. })) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// Puts every session where a run begins.
    async fn begin(&mut self, test: Test) -> Result<(), BenchError> {
        for session in &mut self.sessions {
            match &self.filled {
                Some(filled) => session.copy_from(filled)?,
                None => {
                    session.reset()?;
                    session.append(&self.before).await?;
                }
            }
            if test.n_prompt == 0 {
                // From here on each token is a whole step.
                made(session, test, 1).await?;
            }
        }
        Ok(self.model.gpu().idle().await?)
    }

    async fn run(&mut self, test: Test, timed: Timed) -> Result<Run, BenchError> {
        self.begin(test).await?;
        let gpu = self.model.gpu().clone();
        let cpu = self.method.cpu_seconds.unwrap_or(|| 0.0);
        let pending = self.sessions.first().and_then(Session::pending);
        gpu.start_timing(timed);
        let (counted, cpu_before, begun) = (gpu.counters(), cpu(), Instant::now());
        for session in self.sessions.iter_mut().filter(|_| test.n_prompt > 0) {
            session.append(&self.prompt).await?;
        }
        let (mut ids, mut first_token) = (Vec::new(), None);
        if test.n_gen == 0 {
            gpu.idle().await?;
        } else if let [session] = &mut self.sessions[..] {
            let first;
            (ids, first) = made(session, test, test.n_gen).await?;
            first_token = first.map(|at| at.saturating_duration_since(begun));
        } else {
            ids = together(&mut self.sessions, test).await?;
        }
        let time = begun.elapsed();
        let cpu_seconds = self.method.cpu_seconds.map(|_| cpu() - cpu_before);
        let Counters { dispatches, submits, .. } = gpu.counters();
        let times = gpu.stop_timing().await?;
        let device = times.as_ref().and_then(whole);
        let missed = times.as_ref().map_or(0, |times| times.missed);
        if timed == Timed::Dispatches && missed > 0 {
            let value = (dispatches - counted.dispatches).to_string();
            let need = format!("at most {}", dispatches - counted.dispatches - u64::from(missed));
            return Err(BenchError::Setting { field: "dispatches of a profile", value, need });
        }
        let kernels = times.map(|times| times.kernels).unwrap_or_default();
        if let (0, Some(session)) = (test.n_gen, self.sessions.first_mut()) {
            made(session, test, 1).await?;
            first_token = Some(begun.elapsed());
        }
        ids.pop();
        Ok(Run {
            time,
            cpu_seconds,
            device,
            dispatches: dispatches - counted.dispatches,
            submits: submits - counted.submits,
            first_token: first_token.filter(|_| test.n_prompt > 0),
            consumed: pending.into_iter().chain(ids).collect(),
            kernels,
        })
    }

    /// What a run costs by formula.
    fn traffic(&self, run: Option<&Run>) -> Result<Traffic, KvError> {
        let (Some(session), Some(run)) = (self.sessions.first(), run) else { return Ok(Traffic::default()) };
        let (cost, texts) = (Cost::of(self.model, self.method.session.kv), self.sessions.len() as u32);
        let options = self.method.session;
        let mut ring = Ring::new(session.policy(), options.in_flight)?;
        // In pieces, as it was read: the rows of one chunk are all there is room for.
        cost.prompt(&mut ring, &self.before, options.chunk, texts)?;
        let mut all = cost.prompt(&mut ring, &self.prompt, options.chunk, texts)?;
        all += cost.steps(&mut ring, &run.consumed, texts)?;
        if !self.prompt.is_empty() && session.pending().is_some() {
            all += cost.logits(texts); // of the first token
        }
        Ok(all)
    }

    fn kv(&self) -> KvReport {
        self.sessions.first().map(Session::kv).unwrap_or_default()
    }
}

/// The time of all passes; `None` if some were not timed.
fn whole(times: &PassTimes) -> Option<Duration> {
    (times.missed == 0).then_some(times.busy)
}

fn options(n: u32) -> GenerateOptions {
    GenerateOptions { max_tokens: n, ignore_eos: true, ..GenerateOptions::default() }
}

/// Makes `n` tokens; their ids, and when the first had come.
async fn made(session: &mut Session, test: Test, n: u32) -> Result<(Vec<u32>, Option<Instant>), BenchError> {
    let (mut ids, mut first) = (Vec::new(), None);
    let mut tokens = session.generate(options(n))?;
    while let Some(token) = tokens.next_token().await? {
        first.get_or_insert_with(Instant::now);
        ids.push(token.id);
    }
    match tokens.stop_reason() {
        _ if ids.len() == n as usize => Ok((ids, first)),
        reason => Err(BenchError::Ended { test: test.name(), made: ids.len(), wanted: n, reason }),
    }
}

/// Makes the tokens of several texts, a step of all at a time; the ids of the first.
async fn together(sessions: &mut [Session], test: Test) -> Result<Vec<u32>, BenchError> {
    let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
    let mut of_first = None;
    for continued in generate_together(&mut all, &options(test.n_gen)).await? {
        let (ids, wanted) = (continued.tokens.iter().map(|token| token.id), test.n_gen);
        let ids: Vec<u32> = ids.collect();
        let end = continued.end?;
        if ids.len() != wanted as usize {
            let (test, made) = (test.name(), ids.len());
            return Err(BenchError::Ended { test, made, wanted, reason: Some(end) });
        }
        of_first.get_or_insert(ids);
    }
    Ok(of_first.unwrap_or_default())
}
