//! What a user typed, as an expression of SQLite's full-text search.
//!
//! Nothing in it is taken as syntax: every word is quoted. Only quotation marks mean what people
//! mean by them.

use super::SearchError;

/// Bytes of a query: what is longer is a document, not a question.
pub const QUERY_MAX_BYTES: usize = 1_024;

/// All words must occur; the last one may be the beginning of a word.
pub(super) fn expression(text: &str) -> Result<String, SearchError> {
    let invalid = |problem: String| SearchError::InvalidField {
        field: "text",
        problem,
    };
    if text.len() > QUERY_MAX_BYTES {
        let bytes = text.len();
        let problem = format!("has {bytes} bytes, over the limit of {QUERY_MAX_BYTES}");
        return Err(invalid(problem));
    }
    let mut terms = Vec::new();
    // Every second part stood between quotation marks.
    for (number, part) in text.split('"').enumerate() {
        if number % 2 == 1 {
            terms.extend(term(part, false));
        } else {
            terms.extend(part.split_whitespace().filter_map(|word| term(word, true)));
        }
    }
    let Some((last, is_word)) = terms.pop() else {
        return Err(invalid("is empty, or has no letters or digits".to_owned()));
    };
    let mut expression: String = terms.iter().map(|(term, _)| format!("{term} ")).collect();
    expression.push_str(&last);
    // A word that is followed by a blank is finished, for whoever types it.
    if is_word && !text.ends_with(char::is_whitespace) {
        expression.push('*');
    }
    Ok(expression)
}

/// A quoted term; `None` when it has nothing that is indexed.
fn term(text: &str, is_word: bool) -> Option<(String, bool)> {
    // The parser ends at a NUL, in the middle of a string.
    let text: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    let has_token = text.chars().any(char::is_alphanumeric);
    has_token.then(|| (format!("\"{}\"", text.trim()), is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        assert_eq!(expression(text).expect("a query"), wanted);
    }

    #[test]
    fn words_are_quoted_and_the_last_is_a_prefix() {
        check("fix pars", r#""fix" "pars"*"#);
        check("fix parser ", r#""fix" "parser""#);
        check(
            "a AND (b OR c* NOT d:",
            r#""a" "AND" "(b" "OR" "c*" "NOT" "d:"*"#,
        );
        check("src/lib.rs", r#""src/lib.rs"*"#);
        check("a\0b", r#""a b"*"#);
    }

    #[test]
    fn quoted_phrases_stay_together() {
        check(r#"x "exit code" y"#, r#""x" "exit code" "y"*"#);
        check(r#""exit code""#, r#""exit code""#);
        check(r#""never closed"#, r#""never closed""#);
    }

    #[test]
    fn query_without_a_word_or_over_its_limit_names_the_field() {
        for text in ["", "  ", "\"\"", "-- && *", &"x".repeat(1_025)] {
            let error = expression(text).expect_err("refused");
            assert!(matches!(
                error,
                SearchError::InvalidField { field: "text", .. }
            ));
        }
    }
}
