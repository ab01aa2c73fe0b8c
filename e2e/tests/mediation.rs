//! Disputes on a whole network: three mediators, each with an account, a home, a host and a peer key of its own, run disputed jobs
//! again and vote. After each verdict the money of everybody is as the rules say, to the last unit, read from the chain by hand.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sublet_e2e::contract::Contract;
use sublet_e2e::court::{Job, JobState, Stage};
use sublet_e2e::mediator::{self, BOND, Candidate, Mediator};
use sublet_e2e::module::late_cow;
use sublet_e2e::money::{tokens, units};
use sublet_e2e::network::{Network, PATIENCE};
use sublet_e2e::roles::{RENTS, Seller};
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::{Traces, processes_of};
use sublet_e2e::wait;
use sublet_wire::workload::Mark;

/// Odd, so that a lost fee cannot be halved evenly.
const FEE: u128 = 1_000_000_000_000_001;
const PANEL: u128 = 3;
const SET: &str = "1";

const OFFERS: &str = r#"
acceptance_wait = 2
[[provider.offers]]
name = "job"
kind = "job"
driver = "container"
price = "100000000000003"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
mediator_set = 1
"#;

/// Everybody, and the chain as anybody may read it. Dropped in this order.
struct Scene {
    mediators: Vec<Mediator>,
    seller: Seller,
    contract: Contract,
    /// Names of those who have money in the contract, and their accounts.
    people: Vec<(String, String)>,
    traces: Vec<Traces>,
    sublet: Sublet,
    network: Network,
}

/// Who has what; `total` is what the contract itself owns.
type Books = BTreeMap<String, u128>;

impl Scene {
    fn start() -> Result<Self> {
        let mut network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
        let sublet = network.sublet.clone();
        late_cow(sublet.home(), 4)?;
        let candidates = Candidate::some(&network, 3)?;
        let fee = tokens(FEE);
        let mut command = vec!["mediator", "create-set", "--panel", "3", "--fee", &fee];
        command.extend(candidates.iter().flat_map(|candidate| ["--member", candidate.account.as_str()]));
        let made = sublet.json(&command)?;
        ensure!(made["set"] == 1, "{made}");
        let mediators = mediator::start(candidates)?;
        let seller = Seller::start(&sublet, "acme", OFFERS)?;
        network.wait_for_offers(1)?;

        let mut people = vec![("provider".to_owned(), seller.account.clone())];
        for (name, account) in [("renter", "default"), ("solver", "solver")] {
            let shown = sublet.json(&["account", "show", "--account", account])?;
            people.push((name.to_owned(), shown["account"].as_str().context("no address")?.to_owned()));
        }
        people.extend(mediators.iter().enumerate().map(|(n, m)| (format!("mediator {n}"), m.account.clone())));
        let contract = Contract::of(&network)?;
        let homes = mediators.iter().map(|mediator| mediator.sublet.home()).chain([sublet.home()]);
        let traces = homes.map(Traces::of).collect();
        Ok(Self { mediators, seller, contract, people, traces, sublet, network })
    }

    /// While nothing is open: everything the contract owns is somebody's.
    fn books(&self) -> Result<Books> {
        let mut books = Books::new();
        for (name, account) in &self.people {
            books.insert(name.clone(), self.contract.free_of(account)?);
        }
        let mut bonds = 0;
        for (number, mediator) in self.mediators.iter().enumerate() {
            let bond = self.contract.bond_of(&mediator.account)?;
            books.insert(format!("bond {number}"), bond);
            bonds += bond;
        }
        let (court, total) = (self.contract.free_of_court()?, self.contract.holdings()?);
        ensure!(court == bonds, "the court has {court}, bonds are {bonds}");
        let sum: u128 = books.values().sum();
        ensure!(sum == total, "the contract owns {total}, everybody together has {sum}: {books:#?}");
        books.insert("total".to_owned(), total);
        Ok(books)
    }

    /// Whoever is not named has what it had.
    fn moved(&self, before: &Books, moves: &[(&str, i128)]) -> Result<()> {
        let mut expected = before.clone();
        for (name, by) in moves {
            let has = expected.get_mut(*name).with_context(|| format!("nobody is called {name}"))?;
            *has = has.checked_add_signed(*by).context("less than nothing")?;
        }
        let after = self.books()?;
        let differs = expected.iter().filter(|(name, has)| after[*name] != **has);
        let differs: Vec<_> = differs.map(|(name, has)| format!("{name}: {has} expected, {}", after[name])).collect();
        ensure!(differs.is_empty(), "after {moves:?}: {differs:#?}");
        Ok(())
    }

    /// `sublet run ARGUMENTS --no-accept`, and its job's number.
    fn order(&self, arguments: &[&str]) -> Result<(u64, Value)> {
        let id = self.contract.agreements()? + 1;
        let mut command = vec!["run"];
        command.extend(arguments);
        command.extend(["-i", "message=moo", "--no-accept"]);
        let answer = self.sublet.json(&command)?;
        ensure!(answer["job"] == id, "{answer}");
        Ok((id, answer))
    }

    fn name(id: u64) -> String {
        format!("job-{id}")
    }

    /// What an account's machines bear in their names.
    fn mark(&self, account: &str) -> Result<Mark> {
        let known = self.network.known()?;
        let chain = known["chain_id"].as_u64().context("no chain")?;
        Ok(Mark::of(account.parse()?, chain, known["contract"].as_str().context("no contract")?.parse()?))
    }

    fn dispute(&self, id: u64) -> Result<()> {
        let raised = self.sublet.json(&["jobs", "dispute", &Self::name(id)])?;
        ensure!(units(&raised["fees"])? == FEE * PANEL && raised["electorate"] == 3, "{raised}");
        Ok(())
    }

    fn until_committed(&self, id: u64, members: &[usize]) -> Result<()> {
        let committed = || {
            let dispute = self.contract.dispute(id)?;
            if dispute.seats.is_empty() {
                return Ok(None);
            }
            let sealed = |member: &usize| Ok(dispute.seat(&self.mediators[*member].account)?.sealed.is_some());
            let all = members.iter().map(sealed).collect::<Result<Vec<_>>>()?;
            Ok(all.into_iter().all(|sealed| sealed).then_some(()))
        };
        wait::until(&format!("{members:?} to commit"), PATIENCE, committed).with_context(|| self.told(id))
    }

    fn until_ended(&self, id: u64, end: &str) -> Result<Job> {
        let ended = || Ok(Some(self.contract.job(id)?).filter(|job| job.state == JobState::Ended));
        let job = wait::until(&format!("job {id} to end"), PATIENCE, ended).with_context(|| self.told(id))?;
        ensure!(job.end == end && job.held == 0, "{job:?}, not {end}\n{}", self.told(id));
        Ok(job)
    }

    /// What everybody says, for a test that fails.
    fn told(&self, id: u64) -> String {
        let logs = self.mediators.iter().map(|mediator| mediator.agent.output());
        let logs: Vec<_> = logs.chain([self.seller.agent.output()]).collect();
        format!("{:#?}\n{:#?}\n{}", self.contract.job(id), self.contract.dispute(id), logs.join("\n---\n"))
    }

    /// Each mediator has a machine of its own, which is seen running.
    fn until_run_again(&mut self, id: u64) -> Result<()> {
        let machine = |mediator: &Mediator| Ok(format!("mediation-{id}-{}", self.mark(&mediator.account)?));
        let mut missing = self.mediators.iter().map(machine).collect::<Result<Vec<_>>>()?;
        let seen = wait::until("every mediator to run the job again", PATIENCE, || {
            let mut left = Vec::new();
            for machine in missing.drain(..) {
                if processes_of(&machine, "")?.is_empty() {
                    left.push(machine);
                }
            }
            missing = left;
            self.observe()?;
            Ok(missing.is_empty().then_some(()))
        });
        seen.with_context(|| self.told(id))?;
        ensure!(self.traces.iter().all(|traces| traces.namespaces() > 0), "no machine in a namespace of its own");
        Ok(())
    }

    fn observe(&mut self) -> Result<()> {
        self.traces.iter_mut().try_for_each(|traces| traces.observe().map(drop))
    }

    /// The chain's clock, just past a second.
    fn pass(&self, second: u128) -> Result<()> {
        let rpc = self.network.rpc()?;
        let head = rpc.call("eth_getBlockByNumber", json!(["latest", false]))?;
        let now = head["timestamp"].as_str().and_then(|text| text.strip_prefix("0x")).context("no time")?;
        let left = (second + 1).saturating_sub(u128::from_str_radix(now, 16)?);
        rpc.call("evm_increaseTime", json!([u64::try_from(left)?]))?;
        rpc.call("evm_mine", json!([]))?;
        Ok(())
    }
}

/// What a unit more or less would be noticed by.
fn signed(amount: u128) -> i128 {
    i128::try_from(amount).expect("far below 2^127")
}

#[test]
fn disputes_end_as_the_rules_say_and_everybody_is_paid() -> Result<()> {
    let mut scene = Scene::start()?;
    for number in 0..scene.mediators.len() {
        ensure!(
            scene.contract.bond_of(&scene.mediators[number].account)? == BOND,
            "mediator {number} has another bond"
        );
    }
    a_result_is_accepted(&scene)?;
    a_result_is_refused(&scene)?;
    a_right_result_is_upheld_though_a_mediator_is_killed(&mut scene)?;
    a_wrong_result_is_overturned(&mut scene)?;
    a_withheld_result_is_overturned(&mut scene)?;
    too_few_votes_decide_nothing(&mut scene)?;
    what_nobody_does_the_renter_does(&mut scene)?;
    nothing_is_left(scene)
}

fn a_result_is_accepted(scene: &Scene) -> Result<()> {
    let before = scene.books()?;
    let (id, answer) = scene.order(&["cowsay"])?;
    ensure!(answer["class"] == "exact" && answer["mediator_set"] == 1, "its offer's mediators judge it: {answer}");
    ensure!(answer["stdout"].as_str().is_some_and(|text| text.contains("< moo >")), "{answer}");
    let job = scene.contract.job(id)?;
    ensure!(job.state == JobState::Submitted && answer["submitted"] == job.result.as_str(), "{answer}\n{job:?}");
    ensure!(units(&answer["cost"])? == job.cost(), "{answer}\n{job:?}");
    let name = Scene::name(id);
    scene.sublet.refuse(&["jobs", "refuse", &name], &["class exact", "next:", "sublet jobs dispute"])?;
    scene.sublet.refuse(&["jobs", "push-on", &name], &["not disputed"])?;
    let done = scene.sublet.json(&["jobs", "accept", &name])?;
    ensure!(units(&done["paid"])? == job.cost() && units(&done["refunded"])? == job.rent() - job.cost(), "{done}");
    scene.until_ended(id, "Accepted")?;
    for again in ["accept", "dispute"] {
        scene.sublet.refuse(&["jobs", again, &name], &["is over"])?;
    }
    let cost = signed(job.cost());
    scene.moved(&before, &[("renter", -cost), ("provider", cost)])
}

fn a_result_is_refused(scene: &Scene) -> Result<()> {
    let before = scene.books()?;
    let (id, answer) = scene.order(&["cowsay", "--class", "none"])?;
    ensure!(answer["class"] == "none" && answer["mediator_set"] == 0, "{answer}");
    let name = Scene::name(id);
    scene.sublet.refuse(&["jobs", "dispute", &name], &["class none", "next:", "sublet jobs refuse"])?;
    let job = scene.contract.job(id)?;
    let half = job.cost() / 2;
    let done = scene.sublet.json(&["jobs", "refuse", &name])?;
    ensure!(units(&done["paid"])? == half && units(&done["refunded"])? == job.rent() - half, "{done}");
    scene.until_ended(id, "Refused")?;
    scene.moved(&before, &[("renter", -signed(half)), ("provider", signed(half))])
}

/// One mediator comes late, so that one of the others can be killed when it has committed and nobody may reveal yet.
fn a_right_result_is_upheld_though_a_mediator_is_killed(scene: &mut Scene) -> Result<()> {
    let before = scene.books()?;
    let (id, _) = scene.order(&["cowsay", "--mediators", SET])?;
    scene.mediators[2].stop()?;
    scene.dispute(id)?;
    scene.sublet.refuse(&["jobs", "dispute", &Scene::name(id)], &["disputed already", "sublet jobs show"])?;
    scene.until_committed(id, &[0, 1])?;
    scene.mediators[0].agent.crash()?;
    let shown = scene.sublet.succeed(&["jobs", "show", &Scene::name(id)])?;
    ensure!(shown.contains("has voted, sealed") && shown.contains("committing until 20"), "{shown}");
    scene.sublet.refuse(&["jobs", "push-on", &Scene::name(id)], &["mediators have until 20"])?;
    scene.mediators[2].begin()?;
    let killed = scene.mediators[0].account.clone();
    let others = || {
        let dispute = scene.contract.dispute(id)?;
        let revealed = dispute.seats.iter().filter(|seat| seat.vote.is_some()).count();
        Ok((revealed == 2).then_some(dispute))
    };
    let dispute = wait::until("the others to reveal", PATIENCE, others).with_context(|| scene.told(id))?;
    ensure!(dispute.stage == Stage::Reveal && dispute.seat(&killed)?.sealed.is_some(), "{dispute:#?}");
    scene.mediators[0].begin()?;
    let job = scene.until_ended(id, "Upheld")?;
    let votes = scene.contract.dispute(id)?;
    ensure!(votes.seats.iter().all(|seat| seat.vote.as_ref() == Some(&job.result)), "{votes:#?}");
    let (cost, fee) = (signed(job.cost()), signed(FEE));
    let fees = [("mediator 0", fee), ("mediator 1", fee), ("mediator 2", fee)];
    let parties = [("renter", -cost - 3 * fee), ("provider", cost)];
    scene.moved(&before, &[&fees[..], &parties].concat())
}

/// The provider has root on its host: it changes a file below the running job.
fn a_wrong_result_is_overturned(scene: &mut Scene) -> Result<()> {
    let before = scene.books()?;
    let id = scene.contract.agreements()? + 1;
    let command = ["--json", "run", "./late.toml", "-i", "message=moo", "--no-accept"];
    let run = spawn(&scene.sublet, &command)?;
    let machine = format!("{}-{}", Scene::name(id), scene.mark(&scene.seller.account)?);
    let found = || Ok(processes_of(&machine, "/usr/bin/perl")?.first().copied());
    let process = wait::until("the job to run", PATIENCE, found).with_context(|| scene.seller.agent.output())?;
    let cow = format!("/proc/{process}/root/usr/share/cowsay/cows/default.cow");
    let honest = std::fs::read_to_string(&cow).with_context(|| format!("reading {cow}"))?;
    ensure!(honest.contains("^__^"), "another cow: {honest}");
    std::fs::write(&cow, honest.replace("^__^", "v__v"))?;
    let answer = answer(run)?;
    let cow = |answer: &Value| answer["stdout"].as_str().unwrap_or_default().to_owned();
    ensure!(cow(&answer).contains("v__v"), "the cow is right: {answer}");

    scene.dispute(id)?;
    scene.until_run_again(id)?;
    let job = scene.until_ended(id, "Overturned")?;
    let votes = scene.contract.dispute(id)?;
    let right = votes.seats[0].vote.clone().context("no vote")?;
    ensure!(right != job.result && votes.seats.iter().all(|seat| seat.vote.as_ref() == Some(&right)), "{votes:#?}");
    let (pledge, fee) = (signed(job.pledge()), signed(FEE));
    let fees = [("mediator 0", fee), ("mediator 1", fee), ("mediator 2", fee)];
    let parties = [("renter", pledge - 3 * fee), ("provider", -pledge)];
    scene.moved(&before, &[&fees[..], &parties].concat())?;

    // Asked for again, it stays the right one.
    scene.sublet.json(&["jobs", "result", &Scene::name(id)])?;
    let better = scene.sublet.json(&["jobs", "result", &Scene::name(id)])?;
    ensure!(cow(&better).contains("^__^"), "not what the mediators found: {better}");
    let finder = better["found_by"].as_str().context("nobody found it")?;
    ensure!(votes.seat(finder).is_ok(), "found by a stranger: {better}");
    Ok(())
}

/// The provider goes away once its result is on chain, and the renter has nothing.
fn a_withheld_result_is_overturned(scene: &mut Scene) -> Result<()> {
    let before = scene.books()?;
    let answer = scene.sublet.json(&["run", "cowsay", "-i", "message=moo", "--detach"])?;
    let id = answer["job"].as_u64().with_context(|| format!("no number: {answer}"))?;
    let submitted = || Ok((scene.contract.job(id)?.state == JobState::Submitted).then_some(()));
    wait::until("the result on chain", PATIENCE, submitted).with_context(|| scene.told(id))?;
    scene.seller.agent.crash()?;
    scene.dispute(id)?;
    let job = scene.until_ended(id, "Overturned")?;
    let zero = format!("0x{}", "0".repeat(64));
    let votes = scene.contract.dispute(id)?;
    ensure!(votes.seats.iter().all(|seat| seat.vote.as_ref() == Some(&zero)), "{votes:#?}");
    let (pledge, fee) = (signed(job.pledge()), signed(FEE));
    let fees = [("mediator 0", fee), ("mediator 1", fee), ("mediator 2", fee)];
    let parties = [("renter", pledge - 3 * fee), ("provider", -pledge)];
    scene.moved(&before, &[&fees[..], &parties].concat())?;
    scene.sublet.refuse(
        &["jobs", "result", &Scene::name(id)],
        &["no mediator found one", &format!("{} SUB of the provider's pledge", tokens(job.pledge())), "next:"],
    )?;
    scene.seller.begin_agent()?;
    scene.seller.agent.wait_for_output(RENTS, PATIENCE)
}

/// Of three, one is away, one has no host and says nothing, and one votes.
fn too_few_votes_decide_nothing(scene: &mut Scene) -> Result<()> {
    let before = scene.books()?;
    let (id, _) = scene.order(&["cowsay"])?;
    scene.mediators[0].stop()?;
    scene.mediators[1].host.crash()?;
    scene.dispute(id)?;
    scene.until_committed(id, &[2])?;
    scene.pass(scene.contract.dispute(id)?.commit_by)?;
    let job = scene.until_ended(id, "Inconclusive")?;
    scene.mediators[1].agent.wait_for_output("no vote in time", PATIENCE)?;
    let votes = scene.contract.dispute(id)?;
    ensure!(votes.seats.iter().filter(|seat| seat.vote.is_some()).count() == 1, "{votes:#?}");
    let (half, fee) = (signed(job.cost() / 2), signed(FEE));
    // The odd unit of each lost fee is the renter's.
    let (to_renter, to_provider) = (2 * (fee - fee / 2), 2 * (fee / 2));
    let panel = [("mediator 2", fee), ("bond 0", -fee), ("bond 1", -fee)];
    let parties = [("renter", -half - fee + to_renter), ("provider", half + to_provider)];
    scene.moved(&before, &[&panel[..], &parties].concat())?;
    let cost = scene.sublet.json(&["jobs", "show", &Scene::name(id)])?["end"]["dispute"].clone();
    let said = ["to_mediators", "fees_back", "for_missing_votes"].map(|name| units(&cost[name]).map(signed));
    let expected = [fee, 2 * fee, to_renter];
    for (said, expected) in said.into_iter().zip(expected) {
        ensure!(said? == expected, "{cost}, not {expected}");
    }
    let shown = scene.sublet.succeed(&["jobs", "show", &Scene::name(id)])?;
    ensure!(shown.contains("inconclusive") && shown.contains("has not voted"), "{shown}");
    Ok(())
}

/// No mediator is there: anybody can draw the panel, and end what nobody judged.
fn what_nobody_does_the_renter_does(scene: &mut Scene) -> Result<()> {
    for number in [1, 2] {
        scene.mediators[number].stop()?;
    }
    let before = scene.books()?;
    let (id, _) = scene.order(&["cowsay"])?;
    let name = Scene::name(id);
    scene.dispute(id)?;
    let drawn = || Ok(scene.sublet.run(&["jobs", "push-on", &name])?.status.success().then_some(()));
    wait::until("the panel to be drawn", PATIENCE, drawn)?;
    let dispute = scene.contract.dispute(id)?;
    ensure!(dispute.stage == Stage::Commit && dispute.seats.len() == 3, "{dispute:#?}");
    scene.pass(dispute.commit_by)?;
    let over = || Ok((scene.contract.dispute(id)?.stage == Stage::Over).then_some(()));
    wait::until("the time to vote to be over", PATIENCE, over)?;
    let done = scene.sublet.json(&["jobs", "push-on", &name])?;
    ensure!(done["done"] == "resolved", "{done}");
    let job = scene.until_ended(id, "Inconclusive")?;
    let (half, fee) = (signed(job.cost() / 2), signed(FEE));
    let (to_renter, to_provider) = (3 * (fee - fee / 2), 3 * (fee / 2));
    let panel = [("bond 0", -fee), ("bond 1", -fee), ("bond 2", -fee)];
    let parties = [("renter", to_renter - half), ("provider", half + to_provider)];
    scene.moved(&before, &[&panel[..], &parties].concat())
}

/// Nothing of any machine, and nothing of any mediator.
fn nothing_is_left(mut scene: Scene) -> Result<()> {
    scene.observe()?;
    scene.mediators[1].come_back()?;
    for mediator in &mut scene.mediators {
        if mediator.agent.ended()?.is_some() {
            mediator.begin()?;
        }
    }
    for mediator in &scene.mediators {
        let gone = || Ok(mediator.machines()?.is_empty().then_some(()));
        wait::until("a mediator's machines to go", PATIENCE, gone)
            .with_context(|| format!("{:?}\n{}", mediator.machines(), mediator.agent.output()))?;
    }
    // The homes stay until they were looked at.
    let _homes: Vec<_> = scene.mediators.iter().map(|mediator| mediator.sublet.clone()).collect();
    let Scene { mediators, seller, traces, network, .. } = scene;
    drop((mediators, seller, network.up));
    traces.iter().try_for_each(|traces| traces.wait_until_gone(Duration::from_secs(20)))
}

fn spawn(sublet: &Sublet, arguments: &[&str]) -> Result<Child> {
    let mut command = sublet.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

fn answer(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{said}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
