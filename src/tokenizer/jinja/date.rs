//! The date that templates ask for with `strftime_now`, as Python's `strftime` writes it in the C locale.

use std::str::FromStr;

use web_time::{SystemTime, UNIX_EPOCH};

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Seconds of a day.
const DAY: u64 = 86_400;

/// A date and a time of day, without a time zone; in text `2026-03-05` or `2026-03-05T14:07:09`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: i32,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
    /// Seconds since midnight.
    second: u32,
}

/// Days of a month.
fn days(year: i32, month: u32) -> u32 {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 => 28_u32.saturating_add(u32::from(leap)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no date such as 2026-03-05 or 2026-03-05T14:07:09");
        let number = |text: &str, digits: usize| {
            let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| plain)
        };
        let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
        let parse = || {
            let mut parts = date.split('-');
            let (year, month, day) =
                (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
            let year = i32::try_from(year).ok()?;
            let valid = parts.next().is_none()
                && year > 0
                && (1..=12).contains(&month)
                && (1..=days(year, month)).contains(&day);
            let mut second = 0u32;
            if let Some(time) = time {
                let mut parts = time.split(':');
                for limit in [24, 60, 60] {
                    let part = number(parts.next()?, 2).filter(|part| *part < limit)?;
                    second = second.checked_mul(60)?.checked_add(part)?;
                }
                if parts.next().is_some() {
                    return None;
                }
            }
            valid.then_some(Self { year, month, day, second })
        };
        parse().ok_or_else(wrong)
    }
}

impl Date {
    /// Now, in UTC: there is no time zone here that could be asked.
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut rest = seconds / DAY;
        let (mut year, mut month) = (1970, 1u32);
        loop {
            let of_month = u64::from(days(year, month));
            if rest < of_month {
                break;
            }
            rest = rest.saturating_sub(of_month);
            month = month.saturating_add(1);
            if month > 12 {
                (year, month) = (year.saturating_add(1), 1);
            }
        }
        let day = u32::try_from(rest).unwrap_or(0).saturating_add(1);
        Self { year, month, day, second: u32::try_from(seconds % DAY).unwrap_or(0) }
    }

    /// The day of the year, from 0.
    fn day_of_year(self) -> u32 {
        let before = (1..self.month).map(|month| days(self.year, month)).sum::<u32>();
        before.saturating_add(self.day).saturating_sub(1)
    }

    /// The day of the week, Monday first, from 0.
    fn weekday(self) -> u32 {
        let years = i64::from(self.year).saturating_sub(1);
        let leaps = (years / 4).saturating_sub(years / 100).saturating_add(years / 400);
        // The first of January of the year 1 was a Monday.
        let all = years.saturating_mul(365).saturating_add(leaps).saturating_add(self.day_of_year().into());
        u32::try_from(all.rem_euclid(7)).unwrap_or(0)
    }

    /// The week of the year that begins with weekday `first` (Monday is 0), counted from the first such day on.
    fn week(self, first: u32) -> u32 {
        let since = self.weekday().saturating_add(7).saturating_sub(first) % 7;
        self.day_of_year().saturating_add(7).saturating_sub(since) / 7
    }

    /// Year and week of ISO 8601.
    fn iso(self) -> (i32, u32) {
        let week = |year_day: i64| year_day.div_euclid(7);
        // The Thursday of its week decides.
        let thursday = i64::from(self.day_of_year()).saturating_sub(self.weekday().into()).saturating_add(3);
        let length = |year| if days(year, 2) == 29 { 366 } else { 365 };
        let number = |day: i64| u32::try_from(week(day).saturating_add(1)).unwrap_or(1);
        if thursday < 0 {
            let year = self.year.saturating_sub(1);
            (year, number(thursday.saturating_add(length(year))))
        } else if thursday >= length(self.year) {
            (self.year.saturating_add(1), 1)
        } else {
            (self.year, number(thursday))
        }
    }

    /// The text of a format of `strftime`. What is no code stays as it is.
    pub fn format(self, format: &str) -> String {
        let mut out = String::new();
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let plain = chars.next_if_eq(&'-').is_some();
            match chars.next().map(|code| (code, self.code(code, plain))) {
                Some((_, Some(text))) => out.push_str(&text),
                Some((code, None)) => {
                    out.push_str(if plain { "%-" } else { "%" });
                    out.push(code);
                }
                None => out.push_str(if plain { "%-" } else { "%" }),
            }
        }
        out
    }

    /// What stands for a code; `plain` numbers have no zero in front.
    fn code(self, code: char, plain: bool) -> Option<String> {
        let padded = |number: u32, width: usize, fill: char| {
            if plain {
                number.to_string()
            } else if fill == '0' {
                format!("{number:0>width$}")
            } else {
                format!("{number: >width$}")
            }
        };
        let two = |number: u32| padded(number, 2, '0');
        let year = u32::try_from(self.year).unwrap_or(0);
        let hour = self.second / 3600;
        let (minute, second) = (self.second / 60 % 60, self.second % 60);
        let twelve = match hour % 12 {
            0 => 12,
            hour => hour,
        };
        let name = |names: &[&'static str], at: u32| {
            usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
        };
        let short = |name: &str| name.chars().take(3).collect::<String>();
        let weekday = name(&WEEKDAYS, self.weekday());
        let month = name(&MONTHS, self.month.saturating_sub(1));
        let (iso_year, iso_week) = self.iso();
        Some(match code {
            'a' => short(weekday),
            'A' => weekday.to_owned(),
            'b' | 'h' => short(month),
            'B' => month.to_owned(),
            'c' => self.format("%a %b %e %H:%M:%S %Y"),
            'C' => two(year / 100),
            'd' => two(self.day),
            'D' | 'x' => self.format("%m/%d/%y"),
            'e' => padded(self.day, 2, ' '),
            'f' => "000000".to_owned(),
            'F' => self.format("%Y-%m-%d"),
            'G' => iso_year.to_string(),
            'H' => two(hour),
            'I' => two(twelve),
            'j' => padded(self.day_of_year().saturating_add(1), 3, '0'),
            'k' => padded(hour, 2, ' '),
            'l' => padded(twelve, 2, ' '),
            'm' => two(self.month),
            'M' => two(minute),
            'n' => "\n".to_owned(),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'r' => self.format("%I:%M:%S %p"),
            'R' => self.format("%H:%M"),
            'S' => two(second),
            't' => "\t".to_owned(),
            'T' | 'X' => self.format("%H:%M:%S"),
            'u' => self.weekday().saturating_add(1).to_string(),
            'U' => two(self.week(6)),
            'V' => two(iso_week),
            'w' => (self.weekday().saturating_add(1) % 7).to_string(),
            'W' => two(self.week(0)),
            'y' => two(year % 100),
            'Y' => year.to_string(),
            'z' | 'Z' => String::new(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_are_read_and_bad_ones_refused() {
        let date: Date = "2026-03-05T14:07:09".parse().unwrap();
        assert_eq!(date.format("%Y-%m-%d %H:%M:%S %A"), "2026-03-05 14:07:09 Thursday");
        assert_eq!("2024-02-29".parse::<Date>().unwrap().format("%j %c"), "060 Thu Feb 29 00:00:00 2024");
        for bad in [
            "2023-02-29",
            "2026-13-01",
            "2026-3-5",
            "26-03-05",
            "2026-03-05T24:00:00",
            "today",
            "2026-03-05T1:2",
        ] {
            assert!(bad.parse::<Date>().is_err(), "{bad}");
        }
        assert!(Date::now().format("%Y").parse::<u32>().unwrap() >= 2024);
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let iso = |text: &str| text.parse::<Date>().unwrap().format("%G-%V-%u %U %W");
        assert_eq!(iso("2021-01-03"), "2020-53-7 01 00");
        assert_eq!(iso("2024-12-30"), "2025-01-1 52 53");
        assert_eq!(iso("2026-03-05"), "2026-10-4 09 09");
        assert_eq!("2026-03-05".parse::<Date>().unwrap().format("%-d/%-m %Q %-Q %"), "5/3 %Q %-Q %");
    }
}
