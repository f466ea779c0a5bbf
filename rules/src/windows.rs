//! Fixed calendar windows in a brand's time zone: days, ISO weeks from Monday, months.
//!
//! A window has a number that only grows with time. Numbers come from the local civil date, so days of 23 and 25 hours and
//! months of any length need no case of their own.

use jiff::{ToSpan, civil, tz::TimeZone};
use protocol::{Timestamp, frame::LimitWindow};

const SECONDS_PER_DAY: i64 = 86_400;

/// Numbers of the day, week and month `now` falls in.
pub fn window_numbers(tz: &TimeZone, now: Timestamp) -> [i32; 3] {
    let at = instant(now);
    let offset = tz.to_offset(at);
    let local_s = now.0.div_euclid(1000) + i64::from(offset.seconds());
    // The clamp in `instant` keeps real times far inside i32 days.
    let day = local_s.div_euclid(SECONDS_PER_DAY) as i32;
    // 1970-01-01 was a Thursday: the Monday before it is day −3.
    let week = (day + 3).div_euclid(7);
    let date = offset.to_datetime(at).date();
    let month = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
    [day, week, month]
}

/// The instant the running window of that kind ends, which is local midnight of the next one's first day.
pub fn window_end(tz: &TimeZone, window: LimitWindow, now: Timestamp) -> Timestamp {
    let today = tz.to_datetime(instant(now)).date();
    let next = match window {
        LimitWindow::Day => today.checked_add(1.day()),
        LimitWindow::Week => today.checked_add((8 - i64::from(today.weekday().to_monday_one_offset())).days()),
        LimitWindow::Month => today.first_of_month().checked_add(1.month()),
    };
    // Only the calendar's last day has no successor.
    let end = next.unwrap_or(civil::Date::MAX).to_zoned(tz.clone());
    end.map_or(Timestamp(i64::MAX), |at| Timestamp(at.timestamp().as_millisecond()))
}

fn instant(now: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(now.0).unwrap_or(if now.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn a_day_of_23_and_one_of_25_hours_are_one_day_each() {
        let tz = zone("Europe/Berlin");
        // 2026-03-29 has 23 hours, 2026-10-25 has 25.
        for (start, end, hours) in
            [("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 23), ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25)]
        {
            let (start, end) = (at(start), at(end));
            assert_eq!(end.since_ms(start), hours * 3_600_000);
            assert_eq!(window_end(&tz, LimitWindow::Day, start), end);
            let day = window_numbers(&tz, start)[0];
            assert_eq!(window_numbers(&tz, end.plus_ms(-1))[0], day);
            assert_eq!(window_numbers(&tz, start.plus_ms(-1))[0], day - 1);
            assert_eq!(window_numbers(&tz, end)[0], day + 1);
        }
    }

    #[test]
    fn a_midnight_the_clock_skips_still_starts_the_day() {
        // Santiago jumped from 24:00 to 01:00 on 2022-09-11.
        let tz = zone("America/Santiago");
        let before = at("2022-09-11T03:59:59Z");
        let end = window_end(&tz, LimitWindow::Day, before);
        assert_eq!(end, at("2022-09-11T04:00:00Z"));
        assert_eq!(window_numbers(&tz, end)[0], window_numbers(&tz, before)[0] + 1);
    }

    #[test]
    fn months_end_where_the_calendar_says() {
        let tz = zone("Europe/Malta");
        for (now, end) in [
            ("2026-02-15T12:00:00Z", "2026-02-28T23:00:00Z"),
            ("2028-02-15T12:00:00Z", "2028-02-29T23:00:00Z"),
            ("2026-12-31T22:59:59.999Z", "2026-12-31T23:00:00Z"),
        ] {
            let end = at(end);
            assert_eq!(window_end(&tz, LimitWindow::Month, at(now)), end);
            assert_eq!(window_numbers(&tz, end)[2], window_numbers(&tz, at(now))[2] + 1);
        }
    }

    #[test]
    fn weeks_start_on_monday() {
        let tz = TimeZone::UTC;
        let monday = at("2026-11-16T00:00:00Z");
        assert_eq!(window_numbers(&tz, monday)[1], window_numbers(&tz, monday.plus_ms(-1))[1] + 1);
        assert_eq!(window_end(&tz, LimitWindow::Week, monday.plus_ms(-1)), monday);
        assert_eq!(window_end(&tz, LimitWindow::Week, monday), at("2026-11-23T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn a_window_ends_exactly_where_its_number_changes(ms in 0_i64..4_000_000_000_000, zone_index in 0_usize..5) {
            let name = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"][zone_index];
            let (tz, now) = (zone(name), Timestamp(ms));
            for (index, window) in LimitWindow::ALL.into_iter().enumerate() {
                let end = window_end(&tz, window, now);
                prop_assert!(end > now);
                let number = window_numbers(&tz, now)[index];
                prop_assert_eq!(window_numbers(&tz, end.plus_ms(-1))[index], number);
                prop_assert_eq!(window_numbers(&tz, end)[index], number + 1);
            }
        }
    }
}
