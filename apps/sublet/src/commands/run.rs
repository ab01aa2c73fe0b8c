//! `sublet run MODULE -i k=v`: one job, from module to checked result and settlement.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sublet_base::{Address, Amount, B256, JobId, Seconds};
use sublet_market::{Class, Kind, WorkloadDocument};

use crate::commands::market::price_of_hour;
use crate::home::Home;
use crate::jobs::{Settled, see_through};
use crate::modules;
use crate::ordering::{self, Wish};
use crate::output::Output;
use crate::records::Records;
use crate::results::JobResult;
use crate::session::{As, Session};

/// How long a renter may object to a result, unless told otherwise.
const CHALLENGE_WINDOW: Seconds = Seconds(120);

/// Flags of `sublet run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet run cowsay -i message=moo\n  sublet run cowsay:1.0.0 -i message='good day' --max-price 2\n  sublet run ./module.toml -i size=3 --json"
)]
pub(crate) struct Args {
    /// A module by NAME or NAME:VERSION, or the path of a module file
    module: String,
    /// An input of the module; may be repeated
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// At most this price, SUB an hour; the module's own limit otherwise
    #[arg(long, value_name = "SUB")]
    max_price: Option<Amount>,
    /// Only this provider
    #[arg(long, value_name = "ADDRESS")]
    provider: Option<Address>,
    /// Stop once the job is open; fetch the result later with `sublet jobs result`
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    who: As,
}

#[derive(Serialize)]
struct Answer {
    job: JobId,
    provider: Address,
    opened_by: B256,
    #[serde(flatten)]
    end: Option<Ended>,
}

#[derive(Serialize)]
struct Ended {
    #[serde(flatten)]
    settled: Settled,
    exit_code: u8,
    stdout: String,
    stderr: String,
    folder: String,
}

impl Args {
    /// Orders the job, waits for its result, checks and accepts it.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let module = modules::find(&self.module)?;
        let given = inputs(&self.inputs)?;
        let digest = modules::image_digest(&module.image.name, module.image.digest)?;
        let mut job = module.render(&given, digest)?;
        // Class exact means that somebody can judge; there are no mediators yet, so the job says what it gets.
        job.class = Class::None;
        let (document, workload) = job.seal()?;
        let wallet = self.who.wallet(home)?;
        let session = Session::reader(home, output).await?;
        let records = Records::open(home).await?;
        let progress = output.progress(format!("looking for somebody to run {}", module.title()));
        let wish = Wish {
            kind: Kind::Job,
            name: module.name.clone(),
            resources: job.resources,
            max_price: Some(self.max_price.map_or(module.defaults.max_price, price_of_hour)),
            duration: module.defaults.duration,
            class: job.class,
            challenge_window: CHALLENGE_WINDOW,
            provider: self.provider,
            document,
            workload,
        };
        let (record, opened) = ordering::open(&session, &wallet, &records, wish, &progress).await?;
        let id = JobId(opened.id);
        progress.step(format!("{id} is open with provider {}", opened.provider));
        if self.detach {
            progress.done();
            let answer = Answer { job: id, provider: opened.provider, opened_by: opened.transaction, end: None };
            output.answer(&answer, || format!("{id} is open; fetch its result with `sublet jobs result {id}`"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let result = JobResult::of(home, id);
        let outcome = see_through(&session, &wallet, &record, opened, &result, &progress).await;
        progress.done();
        records.close().await;
        let settled = outcome?;
        answer(output, id, opened.provider, opened.transaction, settled, &result)
    }
}

fn answer(
    output: Output,
    job: JobId,
    provider: Address,
    opened_by: B256,
    settled: Settled,
    result: &JobResult,
) -> Result<ExitCode> {
    let code = result.exit_code()?;
    let end = Ended {
        settled,
        exit_code: code,
        stdout: result.stream("stdout")?,
        stderr: result.stream("stderr")?,
        folder: result.folder().display().to_string(),
    };
    if !end.stderr.is_empty() && !output.is_json() {
        eprint!("{}", end.stderr);
    }
    let answer = Answer { job, provider, opened_by, end: Some(end) };
    output.answer(&answer, || {
        let Some(end) = &answer.end else { return String::new() };
        let s = &end.settled;
        let outputs = if result.has_outputs() { format!("\noutputs     {}/outputs", end.folder) } else { String::new() };
        format!(
            "{}\n{job}\nexit code   {code}\nprice       {} SUB, of {} SUB at most; {} SUB came back\nresult      {}\nsettled by  {}{outputs}",
            end.stdout.trim_end_matches('\n'),
            s.paid,
            s.at_most,
            s.refunded,
            s.result_hash,
            s.transaction
        )
    })?;
    Ok(ExitCode::from(code))
}

/// Inputs as given, by name.
pub(crate) fn inputs(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::new();
    for input in given {
        let (name, value) =
            input.split_once('=').with_context(|| format!("the input `{input}` is not of the form NAME=VALUE"))?;
        if inputs.insert(name.to_owned(), value.to_owned()).is_some() {
            bail!("the input `{name}` is given twice");
        }
    }
    Ok(inputs)
}
