//! What people do to the two tables, as SQL.

use super::table::{Column, Draw, Table, TableFeature};

/// Draws edits of a table.
pub(super) struct EditGenerator<'t> {
    table: &'t Table,
    /// Keys of numbers from here on were never used.
    fresh: usize,
    /// How often something was written that must differ from all before.
    written: usize,
}

impl<'t> EditGenerator<'t> {
    pub(super) fn new(table: &'t Table) -> Self {
        let fresh = table.rows + 1;
        Self {
            table,
            fresh,
            written: 0,
        }
    }

    /// The remote's first rows.
    pub(super) fn first(&self, draw: &mut Draw) -> String {
        self.insert(draw, (1, self.table.rows))
    }

    /// An edit of the remote that waits for no open transaction, and for which none has to wait.
    pub(super) fn remote(&mut self, draw: &mut Draw) -> String {
        let Table { tenant, active, .. } = self.table;
        let some = self.some(draw, "true");
        match draw.below(8) {
            0..=2 => self.set(draw),
            3 => format!("delete from meter where {some}"),
            4 => format!("update meter set {tenant} = 15 - {tenant} where {some}"),
            5 => format!("update meter set {active} = not {active} where {some}"),
            6 if self.table.special != TableFeature::Referenced => self.rekey(draw),
            _ => {
                let first = self.fresh;
                self.fresh += draw.of(&[1, 3, 70]);
                self.insert(draw, (first, self.fresh - 1))
            }
        }
    }

    /// An edit of the remote for which every other transaction has to be over.
    pub(super) fn alone(&self, draw: &mut Draw) -> String {
        match draw.below(4) {
            0 => "vacuum full meter".to_owned(),
            1 => "create temporary table kept as table meter; truncate meter;
                  insert into meter table kept; drop table kept"
                .to_owned(),
            // those that were deleted come back
            _ => self.insert(draw, (1, self.table.rows)),
        }
    }

    /// Remote rows take each other's unique values.
    pub(super) fn exchange(&self, draw: &mut Draw) -> Option<String> {
        let serial = self.table.serial()?;
        let some = self.some(draw, &format!("{} = 7", self.table.tenant));
        Some(format!(
            "with picked as (
                select p.c, p.v, row_number() over (order by p.v) as n, count(*) over () as rows
                from (select ctid as c, {serial} as v from meter where {some}) p)
             update meter m set {serial} = o.v from picked p join picked o on o.n = p.n % p.rows + 1
             where m.ctid = p.c"
        ))
    }

    fn set(&self, draw: &mut Draw) -> String {
        let columns = self.table.plain();
        let Column {
            name,
            remote,
            values,
            ..
        } = &columns[draw.below(columns.len())];
        let value = draw.of(values);
        let some = self.some(draw, "true");
        format!("update meter set {name} = ({value})::{remote} where {some}")
    }

    /// A remote row gets a key that was never used.
    fn rekey(&mut self, draw: &mut Draw) -> String {
        let n = self.fresh;
        self.fresh += 1;
        let keys = self.table.key.iter();
        let keys: Vec<String> = keys
            .map(|(c, value)| format!("({value})::{}", c.remote))
            .collect();
        let names = self.table.key_names();
        let keys = keys.join(", ");
        let one = self.picked(draw, "true", 1);
        format!(
            "update meter set ({names}) = (select {keys} from (values ({n})) as x (n)) where {one}"
        )
    }

    /// Remote rows with the keys of these numbers, but for those that are there.
    fn insert(&self, draw: &mut Draw, (first, last): (usize, usize)) -> String {
        let Table { tenant, active, .. } = self.table;
        let names = self.table.all(|c| format!("{}, ", c.name));
        let keys = self.table.key.iter();
        let keys: String = keys
            .map(|(c, value)| format!("({value})::{}, ", c.remote))
            .collect();
        let serial = self
            .table
            .serial()
            .map_or("", |_| "'S' || nextval('serials'), ");
        let values: String = self.table.plain().iter().map(|c| values(draw, c)).collect();
        format!(
            "insert into meter ({names}{tenant}, {active})
             select {keys}{serial}{values}case when n % 9 = 5 then 8 else 7 end, n % 11 <> 4
             from generate_series({first}, {last}) n on conflict do nothing"
        )
    }

    /// An edit of the local table.
    pub(super) fn local(&mut self, draw: &mut Draw) -> String {
        let Table { active, note, .. } = self.table;
        let some = self.some(draw, "true");
        self.written += 1;
        let n = self.written;
        match draw.below(12) {
            0..=2 => self.spoil(draw),
            3 => format!("delete from meter where {some}"),
            4 | 5 => {
                format!("update meter set {active} = not {active}, {note} = 'new {n}' where {some}")
            }
            6 => format!("update meter set {note} = 'note {n}' where {some}"),
            7 => self.insert_here("7"),
            8 | 9 if self.table.is_shared => self.insert_here("8"),
            10 if self.table.is_shared && self.table.unique.is_none() => {
                let tenant = &self.table.tenant;
                format!("update meter set {tenant} = 15 - {tenant} where {some}")
            }
            11 if draw.below(4) == 0 => "delete from meter".to_owned(),
            _ => self.renumber(&some),
        }
    }

    /// A column of local rows takes the value of another row.
    fn spoil(&self, draw: &mut Draw) -> String {
        let columns = self.table.plain();
        let Column { name, .. } = &columns[draw.below(columns.len())];
        let (some, one) = (self.some(draw, "true"), self.picked(draw, "true", 1));
        format!("update meter set {name} = (select {name} from meter where {one}) where {some}")
    }

    /// The unique values of local rows become others that nobody else has.
    fn renumber(&self, some: &str) -> String {
        let value = match (self.table.special, self.written % 2) {
            (TableFeature::Unique(_), 0) => "null".to_owned(),
            _ => format!("'here {} ' || o.n", self.written),
        };
        match self.table.serial() {
            Some(serial) => format!(
                "update meter m set {serial} = {value}
                 from (select ctid as c, row_number() over () as n from meter where {some}) o where o.c = m.ctid"
            ),
            None => format!("update meter set {} = null where {some}", self.table.note),
        }
    }

    /// A local row that the remote does not know.
    fn insert_here(&mut self, tenant: &str) -> String {
        let n = self.fresh;
        self.fresh += 1;
        let Table { active, note, .. } = self.table;
        let keys = self.table.key.iter();
        let keys: String = keys
            .map(|(c, value)| format!("({value})::{}, ", c.remote))
            .collect();
        let names = self.table.key_names();
        let (column, value) = match self.table.is_shared {
            true => (format!("{}, ", self.table.tenant), format!("{tenant}, ")),
            false => (String::new(), String::new()),
        };
        let needed = self.table.columns.iter();
        let needed: Vec<_> = needed.filter(|c| c.local_type() != c.local).collect();
        let columns: String = needed.iter().map(|c| format!("{}, ", c.name)).collect();
        let empty = "'', ".repeat(needed.len());
        format!(
            "insert into meter ({names}, {column}{columns}{active}, {note})
             select {keys}{value}{empty}true, 'theirs' from (values ({n})) as x (n)"
        )
    }

    fn some(&self, draw: &mut Draw, of: &str) -> String {
        let rows = draw.of(&[1, 1, 2, 40]);
        self.picked(draw, of, rows)
    }

    /// A condition for so many rows. Those that an open transaction holds are passed over.
    fn picked(&self, draw: &mut Draw, of: &str, rows: usize) -> String {
        let keys = self.table.key_names();
        let salt = draw.below(1000);
        format!(
            "ctid = any (array(select ctid from meter where {of}
                 order by md5(concat({keys}, {salt})) limit {rows} for update skip locked))"
        )
    }
}

/// The value of a column for a number `n`, with a comma after it.
fn values(draw: &mut Draw, column: &Column) -> String {
    let step = draw.of(&[1, 3, 7]);
    let cases: String = (0..)
        .zip(column.values)
        .map(|(place, value)| format!("when {place} then {value} "))
        .collect();
    let count = column.values.len();
    format!(
        "(case n * {step} % {count} {cases}end)::{}, ",
        column.remote
    )
}
