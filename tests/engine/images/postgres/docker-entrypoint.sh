#!/usr/bin/env bash
# What the official image's entrypoint promises: as root it hands over to `postgres`; an empty PGDATA gets a cluster with
# POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB, and /docker-entrypoint-initdb.d is run; a PGDATA that is not empty is left alone.
set -Eeuo pipefail

# KEY from the environment, or from the file that KEY_FILE names.
from_file() {
    local key=$1 default=${2:-} file_key="${1}_FILE"
    if [ -n "${!key:-}" ] && [ -n "${!file_key:-}" ]; then
        echo >&2 "error: both $key and $file_key are set (but are exclusive)"
        exit 1
    fi
    if [ -n "${!file_key:-}" ]; then export "$key=$(<"${!file_key}")"; else export "$key=${!key:-$default}"; fi
    unset "$file_key"
}

make_folders() {
    mkdir -p "$PGDATA"
    chmod 00700 "$PGDATA" || :
    mkdir -p /var/run/postgresql || :
    chmod 03775 /var/run/postgresql || :
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    fi
}

refuse_without_password() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        cat >&2 <<-'TEXT'
			Error: Database is uninitialized and superuser password is not specified.
			       You must specify POSTGRES_PASSWORD to a non-empty value for the
			       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".
		TEXT
        exit 1
    fi
}

make_cluster() {
    local initdb_options=()
    eval "initdb_options=(${POSTGRES_INITDB_ARGS:-})"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${initdb_options[@]}"
    local method=$POSTGRES_HOST_AUTH_METHOD
    [ -n "$method" ] || method=$(postgres -C password_encryption)
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# psql to the server of the initialisation, which listens on its socket alone.
ask() { PGHOST='' PGPASSWORD=$POSTGRES_PASSWORD psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "$@"; }

make_database() {
    [ "$POSTGRES_DB" = postgres ] && return
    ask --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
}

run_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
            *.sql) ask --dbname "$POSTGRES_DB" -f "$file" ;;
            *.sql.gz) gunzip -c "$file" | ask --dbname "$POSTGRES_DB" ;;
            *.sql.xz) xzcat "$file" | ask --dbname "$POSTGRES_DB" ;;
            *.sql.zst) zstd -dc "$file" | ask --dbname "$POSTGRES_DB" ;;
        esac
    done
}

initialise() {
    refuse_without_password
    make_cluster
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    make_database
    run_scripts
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

main() {
    if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
    if [ "$1" != postgres ]; then exec "$@"; fi
    make_folders
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"; fi
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=}"
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        initialise
    else
        printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    fi
    exec "$@"
}

main "$@"
