//! IRB and SCHIB, decoded: as JSON with the names of the *Principles of Operation*, and as text.

use channel::{Irb, Schib, Scsw};
use hex::encode as hex;
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

/// Subchannel-status word.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScswView {
    /// Deferred condition code.
    pub deferred_cc: u8,
    /// Function control.
    pub function: Vec<String>,
    /// Activity control.
    pub activity: Vec<String>,
    /// Status control.
    pub status: Vec<String>,
    /// Device status.
    pub device_status: Vec<String>,
    /// Subchannel status.
    pub subchannel_status: Vec<String>,
    /// CCW address, in bytes from the program's first; hexadecimal.
    pub ccw_address: String,
    /// Residual count.
    pub count: u16,
}

/// Interruption-response block.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IrbView {
    /// Subchannel-status word.
    pub scsw: ScswView,
    /// Extended-status word, hexadecimal.
    pub esw: String,
    /// Concurrent sense, hexadecimal.
    pub sense: Option<String>,
    /// All of it, hexadecimal.
    pub raw: String,
}

/// Subchannel-information block.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SchibView {
    /// Device number.
    pub device: String,
    /// Interruption parameter, hexadecimal.
    pub parameter: String,
    /// Interruption subclass.
    pub isc: u8,
    /// What is enabled and available (words 1 and 6 of the PMCW), and whether the device number is valid.
    pub flags: Vec<String>,
    /// Logical-path mask, hexadecimal as all the others.
    pub lpm: String,
    /// Path-not-operational mask.
    pub pnom: String,
    /// Last-path-used mask.
    pub lpum: String,
    /// Path-installed mask.
    pub pim: String,
    /// Path-operational mask.
    pub pom: String,
    /// Path-available mask.
    pub pam: String,
    /// Channel-path identifiers.
    pub chpids: String,
    /// Subchannel-status word.
    pub scsw: ScswView,
    /// All of it, hexadecimal.
    pub raw: String,
}

/// The names of flags that are set.
macro_rules! names {
    ($flags:expr) => {
        $flags
            .iter_names()
            .map(|(name, _)| name.to_lowercase().replace('_', " "))
            .collect()
    };
}

impl ScswView {
    /// Decodes one; CCW addresses are shown from `program` on.
    pub fn new(scsw: &Scsw, program: u32) -> Self {
        let address = scsw.program.get();
        Self {
            deferred_cc: scsw.deferred_cc(),
            function: names!(scsw.function()),
            activity: names!(scsw.activity()),
            status: names!(scsw.status()),
            device_status: names!(scsw.device()),
            subchannel_status: names!(scsw.subchannel()),
            ccw_address: format!("{:x}", address.checked_sub(program).unwrap_or(address)),
            count: scsw.count.get(),
        }
    }

    fn text(&self) -> String {
        let lines = [
            ("function", listed(&self.function)),
            ("activity", listed(&self.activity)),
            ("status", listed(&self.status)),
            ("device status", listed(&self.device_status)),
            ("subchannel status", listed(&self.subchannel_status)),
            ("deferred cc", self.deferred_cc.to_string()),
            (
                "CCW address",
                format!("{}, residual count {}", self.ccw_address, self.count),
            ),
        ];
        lines.map(|(key, value)| line(key, &value)).concat()
    }
}

impl IrbView {
    /// Decodes one; CCW addresses are shown from `program` on.
    pub fn new(irb: &Irb, program: u32) -> Self {
        let raw = irb.as_bytes();
        Self {
            scsw: ScswView::new(&irb.scsw, program),
            esw: hex(raw.get(12..32).unwrap_or_default()),
            sense: sense(irb).map(hex),
            raw: hex(raw),
        }
    }

    /// What says that a program did not do what it should.
    pub fn trouble(&self) -> Option<String> {
        let scsw = &self.scsw;
        let is_bad = |name: &&String| {
            let fine = ["channel end", "device end", "pci"];
            !fine.contains(&name.as_str())
        };
        let mut bad: Vec<String> = scsw
            .device_status
            .iter()
            .chain(&scsw.subchannel_status)
            .filter(is_bad)
            .cloned()
            .collect();
        if scsw.deferred_cc != 0 {
            bad.push(format!("deferred condition code {}", scsw.deferred_cc));
        }
        for function in ["halt", "clear"] {
            if scsw.function.iter().any(|name| name == function) {
                bad.push(function.into());
            }
        }
        (!bad.is_empty()).then(|| format!("the program ended with {}", bad.join(", ")))
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = self.scsw.text();
        text.push_str(&line("ESW", &spaced(&self.esw)));
        if let Some(sense) = &self.sense {
            text.push_str(&line("sense", &spaced(sense)));
        }
        text
    }
}

impl SchibView {
    /// Decodes one.
    pub fn new(device: String, schib: &Schib) -> Self {
        let pmcw = &schib.pmcw;
        let mask = |mask: u8| format!("{mask:02x}");
        let mut flags: Vec<String> = names!(pmcw.flags());
        let more: Vec<String> = names!(pmcw.characteristics());
        flags.extend(more);
        Self {
            device,
            parameter: format!("{:08x}", pmcw.parameter.get()),
            isc: pmcw.isc(),
            flags,
            lpm: mask(pmcw.lpm),
            pnom: mask(pmcw.pnom),
            lpum: mask(pmcw.lpum),
            pim: mask(pmcw.pim),
            pom: mask(pmcw.pom),
            pam: mask(pmcw.pam),
            chpids: hex(pmcw.chpid),
            scsw: ScswView::new(&schib.scsw, 0),
            raw: hex(schib.as_bytes()),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let lines = [
            ("parameter", self.parameter.clone()),
            ("ISC", self.isc.to_string()),
            ("flags", listed(&self.flags)),
            (
                "paths",
                format!(
                    "PIM {} PAM {} POM {} LPM {} PNOM {} LPUM {}",
                    self.pim, self.pam, self.pom, self.lpm, self.pnom, self.lpum
                ),
            ),
            ("CHPIDs", self.chpids.clone()),
        ];
        let lines = lines.map(|(key, value)| line(key, &value)).concat();
        format!("{}\n{lines}{}", self.device, self.scsw.text())
    }
}

fn line(key: &str, value: &str) -> String {
    format!("  {:<18} {value}\n", format!("{key}:"))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "-".into()
    } else {
        names.join(", ")
    }
}

/// Concurrent sense. An emulated subchannel stores the bytes, and their count in the wrong place.
pub fn sense(irb: &Irb) -> Option<&[u8]> {
    let sense = irb.concurrent_sense()?;
    Some(if sense.is_empty() {
        irb.ecw.as_bytes()
    } else {
        sense
    })
}

/// Hexadecimal digits in words of four bytes.
fn spaced(digits: &str) -> String {
    let words: Vec<&str> = (0..digits.len())
        .step_by(8)
        .filter_map(|at| digits.get(at..(at + 8).min(digits.len())))
        .collect();
    words.join(" ")
}

/// A hexadecimal dump, 16 bytes a line, with what is printable in ASCII.
pub fn dump(bytes: &[u8]) -> String {
    let printable = |byte: u8| {
        if (0x20..0x7F).contains(&byte) {
            byte as char
        } else {
            '.'
        }
    };
    let mut text = String::new();
    for (number, line) in bytes.chunks(16).enumerate() {
        let words: Vec<String> = line.chunks(4).map(hex).collect();
        let ascii: String = line.iter().map(|&byte| printable(byte)).collect();
        text.push_str(&format!(
            "  {:04x}  {:<35}  |{ascii}|\n",
            number * 16,
            words.join(" ")
        ));
    }
    text
}
