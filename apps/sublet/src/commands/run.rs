//! `sublet run MODULE -i k=v`: one job, from module to checked result and settlement.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sublet_base::{Address, Amount, B256, JobId, Seconds};
use sublet_market::{Class, Kind, WorkloadDocument};

use crate::arguments::{address, price_of_hour};
use crate::class::{self, Said};
use crate::home::Home;
use crate::jobs::{Pending, Settled, hand_over, inspect, see_through};
use crate::limits::Limits;
use crate::modules;
use crate::ordering;
use crate::output::Output;
use crate::patience::unless_interrupted;
use crate::records::Records;
use crate::results::JobResult;
use crate::session::{As, Session};
use crate::wish::{Check, Wish};

/// How long a renter may object to a result, unless told otherwise.
const CHALLENGE_WINDOW: Seconds = Seconds(120);

/// Flags of `sublet run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet run cowsay -i message=moo\n  sublet run cowsay:1.0.0 -i message='good day' --max-price 2\n  sublet run ./module.toml -i size=3 --json\n  sublet run cowsay -i message=moo --mediators 1 --no-accept"
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
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    provider: Option<Address>,
    /// Who judges a dispute about the result: the number of a set of mediators; the offers' own otherwise
    #[arg(long, value_name = "SET")]
    mediators: Option<NonZeroU64>,
    /// How the result can be checked, if not as the module says: none, or exact (running it again gives the same bytes)
    #[arg(long, value_name = "none|exact")]
    class: Option<Class>,
    /// Fetch and check the result, but leave it to you to accept, dispute or refuse it
    #[arg(long, conflicts_with = "detach")]
    no_accept: bool,
    /// Stop once the provider has the job; fetch the result later with `sublet jobs result`
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
    check: Check,
    #[serde(flatten)]
    settled: Option<Settled>,
    #[serde(flatten)]
    pending: Option<Pending>,
    #[serde(flatten)]
    result: Option<Given>,
}

/// What the job gave.
#[derive(Serialize)]
struct Given {
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
        let wallet = self.who.wallet(home)?;
        let session = Session::reader(home, output).await?;
        let records = Records::open(home).await?;
        let progress = output.progress(format!("looking for somebody to run {}", module.title()));
        let mut wish = Wish {
            kind: Kind::Job,
            name: module.name.clone(),
            resources: job.resources,
            max_price: Some(self.max_price.map_or(module.defaults.max_price, price_of_hour)),
            bounds: Limits::of_job(),
            duration: module.defaults.duration,
            check: Check::none(),
            challenge_window: CHALLENGE_WINDOW,
            provider: self.provider,
            document: Vec::new(),
            workload: B256::ZERO,
        };
        let said = Said { class: self.class, mediators: self.mediators.map(NonZeroU64::get) };
        let check = class::choose(&session, &wish, job.class, said).await?;
        job.class = check.class;
        (wish.document, wish.workload) = job.seal()?;
        wish.check = check.clone();
        let ordering = ordering::open(&session, &wallet, &records, wish, &progress);
        let (record, opened) = unless_interrupted(ordering, || ordering::left_behind(Kind::Job)).await?;
        let id = JobId(opened.id);
        progress.step(format!("{id} is open with provider {}", opened.provider));
        let start = Answer {
            job: id,
            provider: opened.provider,
            opened_by: opened.transaction,
            check,
            settled: None,
            pending: None,
            result: None,
        };
        let result = JobResult::of(home, id);
        let done = async {
            match (self.detach, self.no_accept) {
                (true, _) => hand_over(&session, &record, opened, &progress).await.map(|()| start),
                (false, true) => inspect(&session, &wallet, &record, opened, &result, &progress)
                    .await
                    .map(|pending| Answer { pending: Some(pending), ..start }),
                (false, false) => see_through(&session, &wallet, &record, opened, &result, &progress)
                    .await
                    .map(|settled| Answer { settled: Some(settled), ..start }),
            }
        };
        let outcome =
            unless_interrupted(done, || format!("{id} goes on: `sublet jobs result {id}` fetches its result"));
        let outcome = outcome.await;
        progress.done();
        records.close().await;
        let answer = outcome?;
        if self.detach {
            output.answer(&answer, || answer.detached())?;
            return Ok(ExitCode::SUCCESS);
        }
        answer.with_result(output, &result)
    }
}

impl Answer {
    fn detached(&self) -> String {
        let id = self.job;
        format!("{id} is open; fetch its result with `sublet jobs result {id}`\ndisputes    {}", self.check.describe())
    }

    /// Prints it with what the job gave; the exit code is the job's own.
    fn with_result(mut self, output: Output, result: &JobResult) -> Result<ExitCode> {
        let code = result.exit_code()?;
        let given = Given {
            exit_code: code,
            stdout: result.stream("stdout")?,
            stderr: result.stream("stderr")?,
            folder: result.folder().display().to_string(),
        };
        if !given.stderr.is_empty() && !output.is_json() {
            eprint!("{}", given.stderr);
        }
        let mut text = format!("{}\n{}\nexit code   {code}", given.stdout.trim_end_matches('\n'), self.job);
        if let Some(s) = &self.settled {
            text.push_str(&format!(
                "\nprice       {} SUB, of {} SUB at most; {} SUB came back\nresult      {}\nsettled by  {}",
                s.money.paid, s.at_most, s.money.refunded, s.result_hash, s.transaction
            ));
        }
        if let Some(pending) = &self.pending {
            text.push_str(&format!("\n{}", pending.describe(self.job)));
        }
        text.push_str(&format!("\ndisputes    {}", self.check.describe()));
        if result.has_outputs() {
            text.push_str(&format!("\noutputs     {}/outputs", given.folder));
        }
        self.result = Some(given);
        output.answer(&self, || text)?;
        Ok(ExitCode::from(code))
    }
}

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
