#!/bin/sh
# Counts a session's events by kind; characters of a kind that are no letter or digit become "_".
# JSON without a parser works only because the form of the worker's lines is fixed, see
# docs/generator-protocol.md: compact, and `type`, `id`, `seq` and `kind` stand before anything an
# agent has written. `"checkpoint":"tally` cannot stand inside of a string, where its quotes would
# have a backslash before them; other generators' checkpoints do not begin so.
export LC_ALL=C
stored='s/.*"checkpoint":"tally \([A-Za-z0-9_= ]*\)".*/\1/p'
while IFS= read -r line; do
    case $line in '{"type":"open",'*)
        tally=$(printf '%s\n' "$line" | sed -n "$stored")
        echo '{"type":"ready","name":"tally"}' ;;
    '{"type":"message",'*)
        id=${line#'{"type":"message","id":'} kind=${line#*'"kind":"'}
        kind=$(printf '%s\n' "${kind%%'"'*}" | sed 's/[^A-Za-z0-9]/_/g')
        count=$(($(printf ' %s \n' "$tally" | sed -n "s/.* $kind=\([0-9]*\) .*/\1/p") + 1))
        others=$(printf ' %s \n' "$tally" | sed "s/ $kind=[0-9]* / /; s/^ *//; s/ *$//")
        tally=${others:+$others }$kind=$count
        result='{"kind":"tally","title":"'$kind': '$count'","body":"'$tally'"}'
        printf '{"type":"result","ids":[%s],"results":[%s],"checkpoint":"tally %s"}\n' \
            "${id%%,*}" "$result" "$tally" ;;
    '{"type":"close"'*) exit ;;
    esac
done
