#!/bin/sh
# Entry point of the container. Alone, or with `serve` and what belongs to that, it becomes the daemon; anything
# else, such as `supervisord -c supervisord.conf` or `m3u-proxy top`, is run as it stands.
#
# What must be right before the start is found out first: a bad setting ends it with exit code 2, a directory of
# segments that cannot be used with 1, each with one line that says why.
set -eu

case "${1-}" in
    '' | serve | --demo) set -- m3u-proxy "$@" ;;
    -*) exec m3u-proxy "$@" ;;
    supervisord | */supervisord) ;;
    *) exec "$@" ;;
esac

# The report is on standard error; what is read here is the hardware that was found, so that the daemon need not
# try it all again.
found=$(m3u-proxy prepare --env) || exit
while IFS='=' read -r name value; do
    export "$name=$value"
done <<EOF
$found
EOF

exec "$@"
