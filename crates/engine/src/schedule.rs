//! When a PingSource fires: cron as Eventing reads it, with its words for what cannot be read.
//!
//! Eventing's reader (robfig/cron) takes five fields, or six with the seconds first, and a few names. Each field is read here
//! into the numbers it means, and croner finds the next time with such numbers, also across changes of the clock.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

/// What stands before a schedule to give it a zone.
const ZONES: [&str; 2] = ["CRON_TZ=", "TZ="];
/// Names for schedules, with the six fields they mean.
const NAMED: &[(&str, &str)] = &[
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The six fields, in their order.
const FIELDS: [Bounds; 6] = [
    Bounds { least: 0, most: 59, names: &[] },
    Bounds { least: 0, most: 59, names: &[] },
    Bounds { least: 0, most: 23, names: &[] },
    Bounds { least: 1, most: 31, names: &[] },
    Bounds { least: 1, most: 12, names: MONTHS },
    Bounds { least: 0, most: 6, names: DAYS },
];

/// Times that go on.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScheduleError {
    /// Nobody knows the zone.
    #[error("provided bad location {0}: unknown time zone {0}")]
    Zone(String),
    /// It is no schedule.
    #[error("{0}")]
    Pattern(String),
}

/// What a field may hold.
struct Bounds {
    least: u32,
    most: u32,
    /// Names of the numbers from `least` on.
    names: &'static [&'static str],
}

// === impl Schedule ===

impl Schedule {
    /// Reads a schedule; in UTC, as Eventing's pods do, when it names no zone and none is given.
    pub(crate) fn parse(schedule: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let text = match zone.filter(|zone| !zone.is_empty()) {
            Some(zone) => format!("{}{zone} {schedule}", ZONES[0]),
            None => schedule.to_owned(),
        };
        let (zone, text) = zone_of(&text)?;
        let pattern = pattern_of(text).map_err(ScheduleError::Pattern)?;
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
        let cron = parser.parse(&pattern).map_err(|error| ScheduleError::Pattern(error.to_string()))?;
        Ok(Self { cron, zone })
    }

    /// The first time after `after`; none for what never comes, such as the 30th of February.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&after, false).ok().map(|found| found.timestamp())
    }
}

/// The zone that stands before a schedule, and the schedule.
fn zone_of(text: &str) -> Result<(TimeZone, &str), ScheduleError> {
    let Some(rest) = ZONES.iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        return Ok((TimeZone::UTC, text));
    };
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let zone = match name {
        "" | "UTC" => TimeZone::UTC,
        "Local" => TimeZone::system(),
        name => TimeZone::get(name).map_err(|_| ScheduleError::Zone(name.to_owned()))?,
    };
    Ok((zone, rest.trim()))
}

/// The schedule as six fields of plain numbers.
fn pattern_of(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if text.starts_with('@') {
        let known = NAMED.iter().find(|(name, _)| *name == text);
        return known
            .map(|(_, pattern)| (*pattern).to_owned())
            .ok_or_else(|| format!("unrecognized descriptor: {text}"));
    }
    let mut fields: Vec<&str> = text.split_whitespace().collect();
    match fields.len() {
        5 => fields.insert(0, "0"),
        6 => {}
        count => return Err(format!("expected 5 to 6 fields, found {count}: [{}]", fields.join(" "))),
    }
    let fields: Result<Vec<String>, String> =
        fields.iter().zip(&FIELDS).map(|(field, bounds)| bounds.field(field)).collect();
    Ok(fields?.join(" "))
}

// === impl Bounds ===

impl Bounds {
    /// The numbers that a field means, with commas; `*` where any will do.
    fn field(&self, field: &str) -> Result<String, String> {
        let mut any = false;
        let mut numbers = Vec::new();
        for part in field.split(',').filter(|part| !part.is_empty()) {
            any |= self.part(part, &mut numbers)?;
        }
        if any {
            return Ok("*".to_owned());
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
    }

    /// Adds the numbers of `N`, `N-M`, `*`, each with or without `/STEP`; whether they are all there are.
    fn part(&self, part: &str, numbers: &mut Vec<u32>) -> Result<bool, String> {
        let mut halves = part.split('/');
        let (range, step) = (halves.next().unwrap_or_default(), halves.next());
        if halves.next().is_some() {
            return Err(format!("too many slashes: {part}"));
        }
        let mut ends = range.split('-');
        let (first, last) = (ends.next().unwrap_or_default(), ends.next());
        if ends.next().is_some() && !matches!(first, "*" | "?") {
            return Err(format!("too many hyphens: {part}"));
        }
        let every = matches!(first, "*" | "?");
        let (start, end) = match last {
            _ if every => (self.least, self.most),
            Some(last) => (self.number(first)?, self.number(last)?),
            // `N/STEP` goes on to the end.
            None if step.is_some() => (self.number(first)?, self.most),
            None => (self.number(first)?, self.number(first)?),
        };
        let step = step.map_or(Ok(1), number)?;
        self.within(start, end, step, part)?;
        numbers.extend((start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX)));
        Ok(every && step == 1)
    }

    fn within(&self, start: u32, end: u32, step: u32, part: &str) -> Result<(), String> {
        let Self { least, most, .. } = self;
        if start < *least {
            return Err(format!("beginning of range ({start}) below minimum ({least}): {part}"));
        }
        if end > *most {
            return Err(format!("end of range ({end}) above maximum ({most}): {part}"));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        Ok(())
    }

    /// A number or the name of one.
    fn number(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().zip(self.least..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        named.map_or_else(|| number(text), |(_, number)| Ok(number))
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(time: &str, schedule: &str, zone: Option<&str>) -> Option<String> {
        let schedule = Schedule::parse(schedule, zone).expect("it is a schedule");
        schedule.next(time.parse().expect("a time")).map(|time| time.to_string())
    }

    #[test]
    fn the_next_time() {
        let cases = [
            ("* * * * *", "2026-03-01T00:01:00Z"),
            ("* * * * * *", "2026-03-01T00:00:01Z"),
            ("*/15 * * * *", "2026-03-01T00:15:00Z"),
            ("7/20 * * * *", "2026-03-01T00:07:00Z"),
            ("30 2 * * mon-Fri", "2026-03-02T02:30:00Z"),
            ("0 0 ? feb ?", "2027-02-01T00:00:00Z"),
            ("@hourly", "2026-03-01T01:00:00Z"),
            ("@weekly", "2026-03-08T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            // Either day will do when both are named.
            ("0 0 13 * 5", "2026-03-06T00:00:00Z"),
        ];
        for (schedule, next) in cases {
            assert_eq!(after("2026-03-01T00:00:00Z", schedule, None).as_deref(), Some(next), "{schedule}");
        }
        assert_eq!(after("2026-03-01T00:00:00Z", "0 0 30 2 *", None), None);
    }

    #[test]
    fn zones() {
        let paris = Some("Europe/Paris");
        let next = |time| after(time, "0 9 * * *", paris).expect("there is one");
        assert_eq!(next("2026-01-01T00:00:00Z"), "2026-01-01T08:00:00Z");
        assert_eq!(next("2026-07-01T00:00:00Z"), "2026-07-01T07:00:00Z");
        let own = after("2026-07-01T00:00:00Z", "TZ=Europe/Paris 0 9 * * *", None);
        assert_eq!(own.as_deref(), Some("2026-07-01T07:00:00Z"));
        // The hour that the clock leaves out.
        let next = after("2026-03-29T00:30:00Z", "30 2 * * *", paris).expect("there is one");
        assert!(next.starts_with("2026-03-29T01") || next.starts_with("2026-03-30T00:30"), "{next}");
    }

    #[test]
    fn what_is_no_schedule() {
        let cases = [
            ("", "empty spec string"),
            ("* *", "expected 5 to 6 fields, found 2: [* *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
            ("L * * * *", "failed to parse int from L: strconv.Atoi: parsing \"L\": invalid syntax"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
        ];
        for (schedule, message) in cases {
            let error = Schedule::parse(schedule, None).expect_err(schedule);
            assert_eq!(error.to_string(), message);
        }
        let error = Schedule::parse("* * * * *", Some("Middle/Earth")).expect_err("nobody knows it");
        assert_eq!(error.to_string(), "provided bad location Middle/Earth: unknown time zone Middle/Earth");
    }
}
