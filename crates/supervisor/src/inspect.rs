//! What the doctor asks of processes: whether what runs and what is recorded agree.
//!
//! Looks and judges, and changes nothing; `fix` acts on it.
//!
//! Spawns start and end while this looks. A spawn is in the table from before its record is made
//! until after its record is removed and its tree is gone. So whatever is in the table before or
//! after the look is left out; and what is in neither is looked at once more, since it may be a
//! spawn that began and was over in between, and then nothing of it is there any more.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::finding::{children_that_ended, has_tag, tags_alive};
use crate::headroom;
use crate::identity::{Doubt, Standing};
use crate::leftovers::standing;
use crate::registry::{Listing, SpawnRecord};
use crate::supervisor::Inner;
use crate::tag::Tag;
use crate::tier::TierReport;
use crate::unkillable::describe;

/// What was found of this install's processes and records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// How well processes can be told apart here.
    pub tier: TierReport,
    /// Processes with a tag of this install that belong to no running spawn and have no record, or
    /// are of this generation, in which nothing runs without a spawn: strays.
    pub strays: Vec<Stray>,
    /// Records of no running spawn, whose process is gone or another's by now. Others of the spawn
    /// may live; the problem tells.
    pub stale: Vec<StaleRecord>,
    /// Records and processes that cannot be told, in words: never signalled.
    pub unverifiable: Vec<String>,
    /// Files in the registry that are no record.
    pub unreadable: Vec<UnreadableRecord>,
    /// Pids of this process's children that have ended and are not waited for.
    pub zombies: Vec<u32>,
    /// Descriptors that this process has open, and may have.
    pub descriptors: Headroom,
    /// Processes and threads there are, and may be: of whatever limit is nearest.
    pub processes: Headroom,
    /// How long the look took.
    pub took_ms: u64,
}

/// A tagged process that nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stray {
    /// Its pid.
    pub pid: u32,
    /// Its tag.
    pub tag: String,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Whether its tag is of this generation or of an earlier one.
    pub is_of_this_generation: bool,
}

/// A record that says what is not so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaleRecord {
    /// `<install>:<generation>:<session>:<spawn>`.
    pub tag: String,
    /// Its file.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: PathBuf,
    /// What is wrong with it, in words.
    pub problem: String,
    /// Who of its spawn lives all the same, with nobody to own it.
    pub pids: Vec<u32>,
}

/// A file in the registry that is no record of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnreadableRecord {
    /// The file.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: PathBuf,
    /// Why it is none.
    pub problem: String,
}

/// How much of something is used, and may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Headroom {
    /// Now.
    pub used: u64,
    /// At most; `None`: no limit can be told.
    pub max: Option<u64>,
    /// What sets the limit, for example `RLIMIT_NOFILE` or `kernel.pid_max`.
    pub limit: String,
}

/// One thing that `fix` does, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Fix {
    /// Ends the processes of a spawn that nobody owns any more.
    End {
        /// Its tag.
        tag: String,
        /// Who they are.
        pids: Vec<u32>,
        /// What came of it; `None`: only planned.
        outcome: Option<String>,
    },
    /// Removes a record that says what is not so.
    RemoveRecord {
        /// Its file.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What came of it; `None`: only planned.
        outcome: Option<String>,
    },
    /// Moves a file that is no record, or one of another pid namespace, out of the registry, into
    /// `set-aside/` beside it.
    SetAside {
        /// The file.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        path: PathBuf,
        /// Why it is of no use.
        problem: String,
        /// What came of it; `None`: only planned.
        outcome: Option<String>,
    },
}

pub(crate) async fn inspect(inner: Arc<Inner>) -> Inspection {
    let tier = inner.tier.clone();
    let looked = spawn_blocking(move || View::around(&inner).inspection()).await;
    looked.unwrap_or_else(|error| Inspection {
        unverifiable: vec![format!("looking around: {error}")],
        ..Inspection::of_nothing(tier)
    })
}

impl Inspection {
    fn of_nothing(tier: TierReport) -> Self {
        Self {
            tier,
            strays: Vec::new(),
            stale: Vec::new(),
            unverifiable: Vec::new(),
            unreadable: Vec::new(),
            zombies: Vec::new(),
            descriptors: Headroom::default(),
            processes: Headroom::default(),
            took_ms: 0,
        }
    }
}

/// What was seen at one time.
pub(crate) struct View {
    inspection: Inspection,
    /// What may live of each spawn that nobody owns, strays and those of stale records.
    pub(crate) unowned: HashMap<Tag, Unowned>,
    /// Files that are of no use here: those that are no record, and records of another pid
    /// namespace. A container leaves such records each time that it is killed, and nothing in this
    /// one can ever tell that theirs is over.
    pub(crate) useless: Vec<UnreadableRecord>,
}

/// What nobody owns of one spawn.
#[derive(Debug, Default)]
pub(crate) struct Unowned {
    /// Processes that live, by tag or as the recorded child.
    pub(crate) pids: Vec<u32>,
    /// Its record, when that is stale, and what is wrong with it.
    pub(crate) stale: Option<(SpawnRecord, String)>,
}

impl View {
    /// Looks around. Blocks for some milliseconds.
    pub(crate) fn around(inner: &Inner) -> Self {
        let began_at = Instant::now();
        let before = Known::now(inner);
        let ended = children_that_ended();
        let mut view = Self {
            inspection: Inspection::of_nothing(inner.tier.clone()),
            unowned: HashMap::new(),
            useless: Vec::new(),
        };
        let found = &mut view.inspection;
        let listing = inner.registry.list().unwrap_or_else(|error| {
            let text = format!("read the process registry: {error}");
            found.unverifiable.push(text);
            Listing::default()
        });
        // After the records, so that what has none had none while it was looked for.
        let install = &inner.settings.install;
        let tagged = tags_alive(&|tag| tag.is_of_install(install));
        let after = Known::now(inner);
        let is_known = |tag: &Tag| before.tags.contains(tag) || after.tags.contains(tag);

        match tagged {
            Ok(mut tagged) => {
                let is_unknown = |pid: u32, tag: &Tag| !is_known(tag) && has_tag(pid, tag);
                tagged.processes.retain(|(pid, tag)| is_unknown(*pid, tag));
                let mut records = listing.records;
                records.retain(|record| !is_known(&record.tag));
                view.judge(inner, records, tagged.processes);
            }
            // Who lives is not known, so no record can be called stale.
            Err(error) => found
                .unverifiable
                .push(format!("look for processes: {error}")),
        }
        let found = &mut view.inspection;
        let unreadable = listing.unreadable.into_iter();
        found.unreadable = unreadable
            .map(|(path, problem)| UnreadableRecord { path, problem })
            .collect();
        view.useless.extend(found.unreadable.iter().cloned());
        // Whoever is waited for is reaped soon, and a shim is waited for by its spawn.
        let still = children_that_ended();
        let is_waited_for = |pid: &u32| before.shims.contains(pid) || after.shims.contains(pid);
        let zombies = ended.into_iter().filter(|zombie| still.contains(zombie));
        let zombies = zombies.map(|(pid, _start_ticks)| pid);
        found.zombies = zombies.filter(|pid| !is_waited_for(pid)).collect();
        found.descriptors = headroom::descriptors();
        found.processes = headroom::processes();
        let took_ms = began_at.elapsed().as_millis();
        found.took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX);
        view
    }

    fn inspection(self) -> Inspection {
        self.inspection
    }

    /// Judges what belongs to no running spawn.
    fn judge(&mut self, inner: &Inner, records: Vec<SpawnRecord>, tagged: Vec<(u32, Tag)>) {
        let mut recorded: HashSet<Tag> = HashSet::new();
        for record in records {
            // Its spawn may have been over before the table was read again.
            if inner.registry.holds(&record.tag) {
                recorded.insert(record.tag.clone());
                self.judge_record(inner, record, &tagged);
            }
        }
        for (pid, tag) in tagged {
            let is_of_this_generation = tag.generation() == inner.settings.generation;
            // Of another generation: a worker beside this one may have recorded it since.
            let has_record = recorded.contains(&tag) || inner.registry.holds(&tag);
            if is_of_this_generation || !has_record {
                self.push_stray(pid, tag, is_of_this_generation);
            }
        }
    }

    fn judge_record(&mut self, inner: &Inner, record: SpawnRecord, tagged: &[(u32, Tag)]) {
        let tag = record.tag.clone();
        if !tag.is_of_install(&inner.settings.install) {
            return self.doubt(&tag, "it is of another install");
        }
        let leader = record.leader_standing(&inner.host);
        let leader = leader.unwrap_or(Standing::Gone);
        match (standing(inner, &record), &leader) {
            (Standing::Unverifiable(doubt), _) => {
                if doubt == Doubt::OtherNamespace {
                    self.useless.push(UnreadableRecord {
                        path: inner.registry.path(&tag),
                        problem: doubt.to_string(),
                    });
                }
                return self.doubt(&tag, &doubt.to_string());
            }
            // It ends its tree by itself, or is of a worker beside this one.
            (Standing::Alive, _) => return,
            (Standing::Gone, Standing::Unverifiable(doubt)) => {
                return self.doubt(&tag, &doubt.to_string());
            }
            (Standing::Gone, _) => {}
        }
        let carriers = tagged.iter().filter(|(_, its)| *its == tag);
        let mut pids: Vec<u32> = carriers.map(|(pid, _)| *pid).collect();
        if leader == Standing::Alive {
            let leader = record.leader.as_ref().map(|leader| leader.pid);
            pids.extend(leader.filter(|pid| !pids.contains(pid)));
        }
        // Whoever it is kept for needs no tag to be remembered.
        if pids.is_empty() && inner.has_survivors(&tag) {
            return;
        }
        let gone = match record.identity {
            Some(_) => "its process is gone",
            None => "its start was recorded and no process",
        };
        let problem = match pids.len() {
            0 => gone.to_owned(),
            count => format!("{gone}; processes of it live: {count}"),
        };
        self.inspection.stale.push(StaleRecord {
            tag: tag.to_string(),
            path: inner.registry.path(&tag),
            problem: problem.clone(),
            pids: pids.clone(),
        });
        let unowned = self.unowned.entry(tag).or_default();
        unowned.pids = pids;
        unowned.stale = Some((record, problem));
    }

    fn push_stray(&mut self, pid: u32, tag: Tag, is_of_this_generation: bool) {
        self.inspection.strays.push(Stray {
            pid,
            tag: tag.to_string(),
            name: describe(pid, false).name,
            is_of_this_generation,
        });
        let unowned = self.unowned.entry(tag).or_default();
        if !unowned.pids.contains(&pid) {
            unowned.pids.push(pid);
        }
    }

    fn doubt(&mut self, tag: &Tag, problem: &str) {
        let text = format!("record of {tag}: {problem}");
        self.inspection.unverifiable.push(text);
    }
}

/// Whom somebody here owns at one moment: a running spawn, or the sweep.
struct Known {
    tags: HashSet<Tag>,
    /// Pids of running shims.
    shims: HashSet<u32>,
}

impl Known {
    fn now(inner: &Inner) -> Self {
        let spawns = inner.spawns();
        let mut tags: HashSet<_> = spawns.iter().map(|spawn| spawn.tag.clone()).collect();
        tags.extend(inner.sweeping.all());
        let shims = spawns.iter().filter_map(|spawn| spawn.state().shim_pid);
        let shims = shims.collect();
        Self { tags, shims }
    }
}

/// Whether somebody here owns the spawn of `tag` now.
pub(crate) fn is_owned(inner: &Inner, tag: &Tag) -> bool {
    Known::now(inner).tags.contains(tag)
}
