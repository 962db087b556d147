//! Numbers and tables as the report shows them.

/// A Markdown table.
#[derive(Debug)]
pub(super) struct Table {
    columns: usize,
    text: String,
}

impl Table {
    pub(super) fn new<T: AsRef<str>>(header: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self {
            columns: 0,
            text: String::new(),
        };
        table.columns = table.line(header);
        table.line(vec!["---"; table.columns]);
        table
    }

    pub(super) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.line(cells);
    }

    fn line<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) -> usize {
        let mut count = 0;
        for cell in cells {
            self.text += "| ";
            self.text += &cell.as_ref().replace('|', "/").replace('\n', " ");
            self.text += " ";
            count += 1;
        }
        self.text += "|\n";
        count
    }

    pub(super) fn finish(self) -> String {
        self.text + "\n"
    }
}

/// A count with commas between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds with about three digits that count.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{seconds:.3}"),
        ..10.0 => format!("{seconds:.2}"),
        _ => format!("{seconds:.1}"),
    }
}

/// Processor seconds: the system counts hundredths.
pub(super) fn cpu(seconds: f64) -> String {
    format!("{:.2}", seconds.max(0.0))
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    match bytes / KIB {
        ..1000.0 => format!("{:.1} KiB", bytes / KIB),
        _ => format!("{:.1} MiB", bytes / KIB / KIB),
    }
}

/// How many times as much.
pub(super) fn times(ratio: f64) -> String {
    match ratio {
        ..10.0 => format!("{ratio:.2}"),
        _ => format!("{ratio:.0}"),
    }
}

/// A page: its head, and its sections with their titles. The first section may have none.
pub(super) fn page<const N: usize>(head: &str, sections: [(&str, String); N]) -> String {
    let mut page = head.to_owned();
    for (title, text) in sections {
        if !title.is_empty() {
            line(&mut page, format!("## {title}\n"));
        }
        let text = match text.trim_end() {
            text if text.trim().is_empty() => "Not in this run.",
            text => text,
        };
        line(&mut page, format!("{text}\n"));
    }
    page.trim_end().to_owned() + "\n"
}

/// Adds a line that wraps nowhere.
pub(super) fn line(text: &mut String, line: impl std::fmt::Display) {
    *text += &format!("{line}\n");
}
