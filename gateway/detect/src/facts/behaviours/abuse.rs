//! This host's power used for others.

use defenseclaw_model::facts::BehaviourKind::{Abuse, Destruction};
use defenseclaw_model::facts::{Pipe, Radius};

use super::super::Analysis;
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (
        &[
            "xmrig",
            "minerd",
            "cpuminer",
            "ethminer",
            "t-rex",
            "nbminer",
            "lolMiner",
            "lolminer",
            "cgminer",
            "bfgminer",
            "ccminer",
            "xmr-stak",
            "phoenixminer",
            "PhoenixMiner",
            "gminer",
            "teamredminer",
            "srbminer",
            "SRBMiner-MULTI",
            "nanominer",
            "claymore",
            "kryptex",
            "nicehash",
            "xmrigDaemon",
            "cpuminer-multi",
            "cpuminer-opt",
            "rigel",
            "bzminer",
            "wildrig",
        ],
        |analysis, call, _| {
            analysis.behave(Abuse, "miner", call.name, None);
        },
    ),
    (&["masscan", "zmap", "zgrab"], |analysis, call, _| {
        analysis.behave(
            Abuse,
            "mass-scan",
            call.operands().last().unwrap_or_default(),
            None,
        )
    }),
    (
        &[
            "hping3",
            "hping",
            "slowloris",
            "slowloris.py",
            "slowhttptest",
            "goldeneye",
            "goldeneye.py",
            "hulk",
            "hulk.py",
            "mdk3",
            "mdk4",
            "t50",
            "xerxes",
            "torshammer",
            "thc-ssl-dos",
            "loic",
            "mhddos",
            "ping",
        ],
        flood,
    ),
];

fn flood(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let floods = match call.name {
        "ping" => call.short("f") && !call.any(&["-4", "-6"]),
        "hping3" | "hping" => call.any(&["--flood", "--faster"]),
        _ => true,
    };
    if floods {
        analysis.behave(Abuse, "flood", call.operands().last().unwrap_or_default(), None);
    }
}

/// What any program's words tell: a pool to mine for. Called with each word that holds `://`.
pub(in super::super) fn address(analysis: &mut Analysis, word: &str) {
    if word.starts_with("stratum") || word.contains("stratum+tcp://") || word.contains("stratum+ssl://") {
        analysis.behave(Abuse, "miner", "stratum", None);
    }
}

/// Hosts that pools of miners answer on.
pub(in super::super) fn is_pool(host: &str) -> bool {
    [
        "nanopool.org",
        "minexmr.com",
        "supportxmr.com",
        "moneroocean.stream",
        "hashvault.pro",
        "2miners.com",
        "f2pool.com",
        "ethermine.org",
        "nicehash.com",
        "minergate.com",
        "c3pool.com",
        "xmrpool.eu",
        "monerohash.com",
        "unmineable.com",
        "dwarfpool.com",
        "crypto-pool.fr",
        "herominers.com",
    ]
    .iter()
    .any(|known| host.ends_with(known))
}

/// A function that pipes into itself has no end.
pub(in super::super) fn fork_bomb(analysis: &mut Analysis) {
    let bomb = analysis.functions.bodies().any(|(name, body)| {
        let is_own = |at: usize| {
            body.contains(&at)
                && analysis
                    .facts
                    .programs
                    .get(at)
                    .is_some_and(|program| program.name == name)
        };
        let piped = |pipe: &Pipe| is_own(pipe.from) && is_own(pipe.to);
        // One call of itself, with what is left to do, is how a function goes through a tree.
        let bare = |at: &usize| is_own(*at) && analysis.facts.programs[*at].argv.len() == 1;
        analysis.facts.pipes.iter().any(piped) || body.clone().filter(bare).count() > 1
    });
    if bomb {
        analysis.behave(Destruction, "fork-bomb", "", Radius::System);
    }
}
