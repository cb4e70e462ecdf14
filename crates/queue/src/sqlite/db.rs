//! The writing connection. It blocks, and lives on the writer's thread.

use std::cell::Cell;
use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;

use rusqlite::hooks::Wal;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Params, ToSql};

use super::connect::{Pragma, open_error_of, read_back_as};
use super::statements::{Insert, Statement};
use crate::error::{OpenError, StoreError};

/// Prepared statements kept: all that the writer has.
const STATEMENTS: usize = 80;

/// A connection that writes, on the thread that opened it.
pub(super) struct Db(Connection);

thread_local! {
    /// Pages in the log after the last commit; there is one writing connection a thread.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

fn note_log_pages(_: &Wal, pages: c_int) -> Result<(), rusqlite::Error> {
    LOG_PAGES.set(pages.unsigned_abs());
    Ok(())
}

impl Db {
    /// Opens a file that was made ready, and sets its pragmas; also returns them as read back.
    pub(super) fn open(
        path: &Path,
        pragmas: &[Pragma],
    ) -> Result<(Self, Vec<(String, String)>), OpenError> {
        let failed = |error: rusqlite::Error| {
            let code = error.sqlite_error().map(|error| error.extended_code);
            open_error_of(path, code, Arc::new(error))
        };
        let db = Self(Connection::open(path).map_err(failed)?);
        db.0.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut found = Vec::new();
        for pragma in pragmas {
            let (name, value, _) = pragma;
            db.pragma(&format!("{name} = {value}")).map_err(failed)?;
            let got = db.pragma(name).map_err(failed)?;
            found.push(read_back_as(path, pragma, got)?);
        }
        // After the pragmas, one of which takes it away.
        db.0.wal_hook(Some(note_log_pages));
        Ok((db, found))
    }

    /// Pages in the log that may not be folded yet.
    pub(super) fn log_pages(&self) -> u32 {
        LOG_PAGES.get()
    }

    /// Folds the log into the file as far as readers let it; the next commit begins it anew when all
    /// of it is folded. Answers whether it is.
    pub(super) fn fold(&self) -> Result<bool, StoreError> {
        let mut prepared = self.0.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
        let is_whole = prepared.query_row((), |row| {
            let (busy, pages, folded): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && pages == folded)
        })?;
        if is_whole {
            LOG_PAGES.set(0);
        }
        Ok(is_whole)
    }

    /// Runs a statement that has no rows to give.
    pub(super) fn run(&self, statement: Statement, values: impl Params) -> Result<(), StoreError> {
        self.run_sql(statement.sql(), values)
    }

    fn run_sql(&self, sql: &str, values: impl Params) -> Result<(), StoreError> {
        self.0.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Inserts rows, many at a time; `bind` pushes a row's values. Answers how many went in.
    pub(super) fn insert<T>(
        &self,
        insert: &Insert,
        mut rows: &[T],
        bind: impl Fn(&mut Values<'_>, &T) -> Result<(), rusqlite::Error>,
    ) -> Result<usize, StoreError> {
        let mut inserted = 0;
        while !rows.is_empty() {
            let (size, sql) = insert.for_rows(rows.len());
            let (these, rest) = rows.split_at(size);
            let mut values = Values {
                prepared: self.0.prepare_cached(sql)?,
                pushed: 0,
            };
            for row in these {
                bind(&mut values, row)?;
            }
            inserted += values.prepared.raw_execute()?;
            rows = rest;
        }
        Ok(inserted)
    }

    /// The rows of a statement.
    pub(super) fn all<T>(
        &self,
        statement: Statement,
        values: impl Params,
        mut read: impl FnMut(&rusqlite::Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut prepared = self.0.prepare_cached(statement.sql())?;
        let mut rows = prepared.query(values)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// The first row of a statement, if there is one.
    pub(super) fn first<T>(
        &self,
        statement: Statement,
        values: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut prepared = self.0.prepare_cached(statement.sql())?;
        let mut rows = prepared.query(values)?;
        rows.next()?.map(read).transpose()
    }

    /// The first of a statement's rows of which `pick` makes something.
    pub(super) fn find<T>(
        &self,
        statement: Statement,
        values: impl Params,
        pick: impl Fn(&rusqlite::Row<'_>) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut prepared = self.0.prepare_cached(statement.sql())?;
        let mut rows = prepared.query(values)?;
        while let Some(row) = rows.next()? {
            if let Some(found) = pick(row)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The row of a statement that always has one.
    pub(super) fn one<T>(
        &self,
        statement: Statement,
        values: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = self.first(statement, values, read)?;
        found.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
    }

    pub(super) fn begin(&self) -> Result<(), StoreError> {
        self.run_sql("BEGIN IMMEDIATE", ())
    }

    pub(super) fn commit(&self) -> Result<(), StoreError> {
        self.run_sql("COMMIT", ())
    }

    pub(super) fn rollback(&self) {
        // SQLite has rolled back by itself after some errors (a full disk), and then refuses.
        if !self.0.is_autocommit()
            && let Err(error) = self.run_sql("ROLLBACK", ())
        {
            tracing::warn!(%error, "a transaction could not be rolled back");
        }
    }

    /// A pragma's answer as text; `nothing` when there is none, as for one that SQLite does not know.
    fn pragma(&self, pragma: &str) -> Result<String, rusqlite::Error> {
        let mut prepared = self.0.prepare(&format!("PRAGMA {pragma}"))?;
        let has_answer = prepared.column_count() > 0;
        let mut rows = prepared.query(())?;
        let mut answer = "nothing".to_owned();
        // To its end: some do their work row by row, and have no columns.
        while let Some(row) = rows.next()? {
            if has_answer {
                answer = match row.get_ref(0)? {
                    ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str()?.to_owned(),
                };
            }
        }
        Ok(answer)
    }

    /// A pragma whose answer is a number, or does not matter: then 0.
    pub(super) fn pragma_number(&self, pragma: &str) -> Result<i64, StoreError> {
        let answer = self.pragma(pragma)?;
        Ok(answer.parse().unwrap_or_default())
    }

    /// Closes it; the last one of a file folds the log.
    pub(super) fn close(self) -> Result<(), rusqlite::Error> {
        self.0.close().map_err(|(_, error)| error)
    }
}

/// The values of an insert, in the order of its question marks.
pub(super) struct Values<'s> {
    prepared: CachedStatement<'s>,
    pushed: usize,
}

impl Values<'_> {
    /// The next value.
    pub(super) fn push(&mut self, value: impl ToSql) -> Result<(), rusqlite::Error> {
        self.pushed += 1;
        self.prepared.raw_bind_parameter(self.pushed, value)
    }
}
