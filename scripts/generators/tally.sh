#!/bin/sh
# Counts a session's events by kind. JSON without a parser works only because the form of the lines
# is fixed (docs/generator-protocol.md): compact, and in a message `type`, `id`, `seq` and `kind`
# stand before anything an agent has written. `"checkpoint":"` cannot stand inside of a string,
# where its quotes would have a backslash before them.
export LC_ALL=C
while IFS= read -r line; do
    case $line in '{"type":"open",'*)
        tally=$(printf '%s\n' "$line" | sed -n 's/.*"checkpoint":"\([A-Za-z0-9_= ]*\)".*/\1/p')
        echo '{"type":"ready","name":"tally"}' ;;
    '{"type":"message",'*)
        id=${line#'{"type":"message","id":'} kind=${line#*'"kind":"'}
        kind=$(printf '%s\n' "${kind%%'"'*}" | sed 's/[^A-Za-z0-9]/_/g')
        count=$(($(printf ' %s \n' "$tally" | sed -n "s/.* $kind=\([0-9]*\) .*/\1/p") + 1))
        others=$(printf ' %s \n' "$tally" | sed "s/ $kind=[0-9]* / /; s/^ *//; s/ *$//")
        tally=${others:+$others }$kind=$count
        result='{"kind":"tally","title":"'$kind': '$count'","body":"'$tally'"}'
        printf '{"type":"result","ids":[%s],"results":[%s],"checkpoint":"%s"}\n' \
            "${id%%,*}" "$result" "$tally" ;;
    '{"type":"close"'*) exit ;;
    esac
done
