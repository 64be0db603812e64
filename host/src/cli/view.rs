//! IRB and SCHIB, decoded: as JSON with the names of the *Principles of Operation*, and as text.

use channel::{Irb, Scsw};
use hex::encode as hex;
use serde::Serialize;
use zerocopy::IntoBytes;

use crate::api::{names, sense, Data, Outcome, StoredSchib};

#[derive(Debug, Serialize)]
pub struct ScswView {
    pub deferred_cc: u8,
    pub function: Vec<String>,
    pub activity: Vec<String>,
    pub status: Vec<String>,
    pub device_status: Vec<String>,
    pub subchannel_status: Vec<String>,
    /// CCW address, in bytes from the program's first; hexadecimal.
    pub ccw_address: String,
    pub count: u16,
}

#[derive(Debug, Serialize)]
pub struct OutcomeView {
    device: String,
    irb: Option<IrbView>,
    earlier: Vec<IrbView>,
    data: Vec<Data>,
}

impl OutcomeView {
    pub fn new(outcome: Outcome) -> Self {
        let view = |irb: &Irb| IrbView::new(irb, outcome.base);
        Self {
            irb: outcome.irb.map(|irb| view(&irb.0)),
            earlier: outcome.earlier.iter().map(|irb| view(&irb.0)).collect(),
            device: outcome.device,
            data: outcome.data,
        }
    }

    pub fn text(&self) -> String {
        let device = &self.device;
        let mut text = String::new();
        for irb in &self.earlier {
            text.push_str(&format!("{device}: earlier status\n{}", irb.text()));
        }
        match &self.irb {
            Some(irb) => text.push_str(&format!("{device}: status\n{}", irb.text())),
            None => text.push_str(&format!("{device}: cancelled\n")),
        }
        for Data {
            ccw,
            command,
            bytes,
        } in &self.data
        {
            let count = bytes.len();
            text.push_str(&format!(
                "CCW {ccw} ({command}): {count} bytes\n{}",
                dump(bytes)
            ));
        }
        text
    }
}

#[derive(Debug, Serialize)]
pub struct IrbView {
    pub scsw: ScswView,
    /// Extended-status word, hexadecimal.
    pub esw: String,
    /// Concurrent sense, hexadecimal.
    pub sense: Option<String>,
    /// All of it, hexadecimal.
    pub raw: String,
}

#[derive(Debug, Serialize)]
pub struct SchibView {
    pub device: String,
    /// Interruption parameter, hexadecimal.
    pub parameter: String,
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
    pub chpids: String,
    pub scsw: ScswView,
    /// All of it, hexadecimal.
    pub raw: String,
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
    pub fn new(stored: StoredSchib) -> Self {
        let (device, schib) = (stored.device, stored.schib.0);
        let pmcw = &schib.pmcw;
        let mask = |mask: u8| format!("{mask:02x}");
        let mut flags = names!(pmcw.flags());
        flags.extend(names!(pmcw.characteristics()));
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
    match names.is_empty() {
        true => "-".into(),
        false => names.join(", "),
    }
}

/// Hexadecimal digits in words of four bytes.
fn spaced(digits: &str) -> String {
    let words = digits.as_bytes().chunks(8).map(String::from_utf8_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// A hexadecimal dump, 16 bytes a line, with what is printable in ASCII.
fn dump(bytes: &[u8]) -> String {
    let printable = |byte: u8| match byte {
        0x20..0x7F => byte as char,
        _ => '.',
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
