//! The names of functions, made short: byte-pair encoding.
//!
//! Again and again the most frequent pair of neighbours becomes a token of its own, until that pays no more. The reader
//! is in `src/boot/symbols.rs`.

use appliance::boot::symbols::{FIRST_PAIR, TWO_BYTES};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// The first token that there is no number for.
const TOKENS: u16 = 0x1000;

/// A pair takes three bytes, and each of its uses spares at least one.
const FEWEST_USES: usize = 4;

/// Names as tokens.
#[derive(Debug)]
pub struct Names {
    /// What the tokens from [`FIRST_PAIR`] on are made of.
    pub pairs: Vec<(u16, u16)>,
    /// Each name, as bytes.
    pub tokens: Vec<Vec<u8>>,
}

impl Names {
    /// Compress names, which are ASCII.
    pub fn compress<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<Vec<u16>> = names
            .map(|name| name.bytes().map(u16::from).collect())
            .collect();
        let mut pairs = Vec::new();
        for token in FIRST_PAIR..TOKENS {
            let Some(pair) = most_frequent(&names) else {
                break;
            };
            names.iter_mut().for_each(|name| replace(name, pair, token));
            pairs.push(pair);
        }

        // The tokens that names have most get the numbers that take one byte.
        let mut uses = BTreeMap::new();
        for token in names.iter().flatten() {
            *uses.entry(*token).or_insert(0usize) += 1;
        }
        let mut order: Vec<u16> = (FIRST_PAIR..).take(pairs.len()).collect();
        order.sort_by_key(|token| Reverse(uses.get(token).copied().unwrap_or(0)));
        let numbers: HashMap<u16, u16> = order.iter().copied().zip(FIRST_PAIR..).collect();
        let number = |token: u16| numbers.get(&token).copied().unwrap_or(token);
        Self {
            pairs: order
                .iter()
                .map(|token| pairs[usize::from(token - FIRST_PAIR)])
                .map(|(first, second)| (number(first), number(second)))
                .collect(),
            tokens: names
                .iter()
                .map(|name| {
                    name.iter()
                        .flat_map(|&token| bytes(number(token)))
                        .collect()
                })
                .collect(),
        }
    }
}

/// The most frequent pair of neighbours, if it pays.
fn most_frequent(names: &[Vec<u16>]) -> Option<(u16, u16)> {
    let mut uses: HashMap<(u16, u16), usize> = HashMap::new();
    for name in names {
        for pair in name.windows(2) {
            *uses.entry((pair[0], pair[1])).or_default() += 1;
        }
    }
    let (pair, uses) = uses
        .into_iter()
        .max_by_key(|&(pair, uses)| (uses, Reverse(pair)))?;
    (uses >= FEWEST_USES).then_some(pair)
}

/// Put `token` in place of each `pair`.
fn replace(name: &mut Vec<u16>, pair: (u16, u16), token: u16) {
    let mut at = 0;
    while at + 1 < name.len() {
        if (name[at], name[at + 1]) == pair {
            name[at] = token;
            name.remove(at + 1);
        }
        at += 1;
    }
}

/// A token as names have it.
fn bytes(token: u16) -> Vec<u8> {
    match u8::try_from(token) {
        Ok(byte) if byte < TWO_BYTES => vec![byte],
        _ => vec![TWO_BYTES | (token >> 8) as u8, token as u8],
    }
}
