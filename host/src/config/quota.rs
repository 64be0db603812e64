//! The keys of `[[client.disk]]` that say how much of a disk a client may have.

use toml::Spanned;
use vcss::control;

use super::memory;
use super::problem::Problems;
use super::table::Table;
use super::Quota;

const MAX_IOPS: u64 = 10_000_000;
const LEAST_BANDWIDTH: u64 = 4 << 10;
const MAX_BANDWIDTH: u64 = 1 << 40;

pub(super) fn read(problems: &Problems<'_>, table: &mut Table<'_, '_>) -> Quota {
    let weight = table.number("weight", control::Quota::WEIGHT.into());
    let iops = [table.number("iops", 1000), table.number("iops_burst", 1000)];
    let bandwidth = [table.bytes("bandwidth"), table.bytes("bandwidth_burst")];
    let most = u64::from(control::Quota::MAX_WEIGHT);
    let weight = weight.filter(|weight| {
        let help = format!("a weight is a number from 1 to {most}");
        within(problems, weight, 1, most, "weight", help)
    });
    let range = format!("write 1 to {MAX_IOPS}, or leave it out");
    let (iops, iops_burst) = limit(problems, iops, ["iops", "iops_burst"], 1, MAX_IOPS, &range);
    let (least, most) = (LEAST_BANDWIDTH, MAX_BANDWIDTH);
    let shown = [least, most].map(memory::show);
    let range = format!(
        "write \"{}\" to \"{}\", or leave it out",
        shown[0], shown[1]
    );
    let keys = ["bandwidth", "bandwidth_burst"];
    let (bandwidth, bandwidth_burst) = limit(problems, bandwidth, keys, least, most, &range);
    Quota {
        weight: weight.map_or(control::Quota::WEIGHT, |it| it.into_inner() as u32),
        iops,
        iops_burst,
        bandwidth,
        bandwidth_burst,
    }
}

/// A limit, if there is one, and its burst, which is by default what it allows in a second.
fn limit(
    problems: &Problems<'_>,
    values: [Option<Spanned<u64>>; 2],
    keys: [&str; 2],
    least: u64,
    most: u64,
    range: &str,
) -> (Option<u64>, Option<u64>) {
    let [rate, burst] = values;
    if let (None, Some(burst)) = (&rate, &burst) {
        let message = format!("{} without {}", keys[1], keys[0]);
        let help = format!("write {} as well: what may be done in a second", keys[0]);
        problems.add(burst.span(), message, help);
    }
    let good = |value: &Spanned<u64>, key| within(problems, value, least, most, key, range.into());
    let burst = burst.filter(|burst| good(burst, keys[1]));
    let rate = rate
        .filter(|rate| good(rate, keys[0]))
        .map(Spanned::into_inner);
    let burst = burst.map(Spanned::into_inner);
    (rate, rate.map(|rate| burst.unwrap_or(rate)))
}

fn within(
    problems: &Problems<'_>,
    value: &Spanned<u64>,
    least: u64,
    most: u64,
    key: &str,
    help: String,
) -> bool {
    let number = *value.get_ref();
    let good = (least..=most).contains(&number);
    if !good {
        let size = if number < least { "small" } else { "large" };
        let message = format!("{key} is too {size}");
        problems.add(value.span(), message, help);
    }
    good
}
