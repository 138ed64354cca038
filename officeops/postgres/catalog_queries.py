"""What the system catalogs are asked for a fingerprint. PostgreSQL 14 and later.

Each query answers with text that does not depend on object ids, on dropped columns or on the session. Members of
extensions are left out: they come with the extension.
"""

_OURS = r"""n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""


def _not_of_an_extension(catalog: str, oid: str) -> str:
    return f"NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{catalog}'::regclass AND d.objid = {oid} AND d.deptype = 'e')"


# Types whose binary form is the value, exactly, and the same in every database; arrays of them too. Others may hold object ids
# (enums, composites, regclass) or have none: they are compared as text, and so is everything where sending text would convert it.
_BINARY = (
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "bytea", "date", "time", "timetz",
    "timestamp", "timestamptz", "interval", "uuid", "json", "jsonb", "inet", "cidr", "macaddr", "bit", "varbit",
)  # fmt: skip
# A number that is none has many binary forms (infinity minus infinity has a sign) and one text, which is what a dump has.
_FLOAT, _FLOATS = (", ".join(f"'pg_catalog.{name}{dims}'::regtype" for name in ("float4", "float8")) for dims in ("", "[]"))
BINARY_TYPES = ", ".join(f"'pg_catalog.{name}'::regtype, 'pg_catalog.{name}[]'::regtype" for name in _BINARY)

# (qualified name, query for its count and checksum). A row's hash is that of its columns' binary form, which takes half the time of the
# row's text; wrapped in a record of one column because servers before 18 hash bytea in no other way.
TABLES = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       format('SELECT count(*), coalesce(sum(hash_record_extended(ROW(record_send(ROW(%s))), 0)), 0) FROM ONLY %I.%I AS "the row"',
              (SELECT string_agg(format(CASE WHEN getdatabaseencoding() <> 'UTF8' OR a.atttypid NOT IN ({BINARY_TYPES})
                                             THEN 'convert_to("the row".%1$I::text, getdatabaseencoding())'
                                             WHEN a.atttypid IN ({_FLOAT}) THEN 'CASE WHEN "the row".%1$I = ''NaN'' THEN ''NaN'' ELSE "the row".%1$I END'
                                             WHEN a.atttypid IN ({_FLOATS}) THEN '"the row".%1$I::text::' || a.atttypid::regtype::text
                                             ELSE '"the row".%1$I' END, a.attname),
                                 ', ' ORDER BY a.attnum)
               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
              n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_OURS}
  AND {_not_of_an_extension("pg_class", "c.oid")}
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
""".encode()

SEQUENCES = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name, format('SELECT last_value, is_called FROM %I.%I', n.nspname, c.relname),
       s.seqincrement
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_OURS}
  AND {_not_of_an_extension("pg_class", "c.oid")}
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
""".encode()

SCHEMA = f"""
WITH relation AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND {_OURS}
      AND {_not_of_an_extension("pg_class", "c.oid")}
), line(text) AS (
    SELECT format('relation %s %s %s %s %s %s %s', name, relkind, relpersistence, relrowsecurity, relforcerowsecurity,
                  reloptions, pg_get_expr(relpartbound, oid))
    FROM relation
    UNION ALL
    SELECT format('column %s %s %I %s %s %s %s %s %s', r.name,
                  row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod),
                  a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid))
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT format('sequence %s %s %s %s %s %s %s', r.name, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle)
    FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
    UNION ALL
    SELECT format('parent %s %s', r.name, i.inhparent::regclass) FROM relation r JOIN pg_inherits i ON i.inhrelid = r.oid
    UNION ALL
    SELECT format('constraint %s %I %s', r.name, k.conname, pg_get_constraintdef(k.oid))
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid WHERE k.contype <> 'n'
    UNION ALL
    SELECT format('index %s', pg_get_indexdef(i.indexrelid)) FROM relation r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT format('view %s %s', name, pg_get_viewdef(oid)) FROM relation WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT format('trigger %s', pg_get_triggerdef(t.oid)) FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT format('rule %s', pg_get_ruledef(w.oid)) FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE w.rulename <> '_RETURN'
    UNION ALL
    SELECT format('policy %s %I %s %s %s %s', r.name, p.polname, p.polcmd, p.polpermissive,
                  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT format('function %s %s', p.oid::regprocedure, CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE {_OURS} AND {_not_of_an_extension("pg_proc", "p.oid")}
    UNION ALL
    SELECT format('type %I.%I %s %s %s %s %s', n.nspname, t.typname, t.typtype, format_type(t.typbasetype, t.typtypmod),
                  t.typnotnull, t.typdefault,
                  (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE {_OURS} AND t.typtype IN ('e', 'd', 'r') AND {_not_of_an_extension("pg_type", "t.oid")}
    UNION ALL
    SELECT format('domain %s %I %s', k.contypid::regtype, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE k.contypid <> 0 AND k.contype = 'c' AND {_OURS} AND {_not_of_an_extension("pg_type", "k.contypid")}
    UNION ALL
    SELECT format('schema %I', n.nspname) FROM pg_namespace n WHERE {_OURS} AND {_not_of_an_extension("pg_namespace", "n.oid")}
    UNION ALL
    SELECT format('extension %I %s', e.extname, e.extversion) FROM pg_extension e
)
SELECT text FROM line ORDER BY text COLLATE "C"
"""

GRANTS = f"""
WITH thing(kind, name, owner, acl) AS (
    SELECT 'relation', format('%I.%I', n.nspname, c.relname), c.relowner,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND {_OURS}
      AND {_not_of_an_extension("pg_class", "c.oid")}
    UNION ALL
    SELECT 'column', format('%I.%I.%I', n.nspname, c.relname, a.attname), c.relowner, a.attacl
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND c.relpersistence <> 't' AND {_OURS}
      AND {_not_of_an_extension("pg_class", "c.oid")}
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_OURS} AND {_not_of_an_extension("pg_proc", "p.oid")}
    UNION ALL
    SELECT 'type', format('%I.%I', n.nspname, t.typname), t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r') AND {_OURS} AND {_not_of_an_extension("pg_type", "t.oid")}
    UNION ALL
    SELECT 'schema', format('%I', n.nspname), n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace n WHERE {_OURS} AND {_not_of_an_extension("pg_namespace", "n.oid")}
    UNION ALL
    SELECT 'large object', m.oid::text, m.lomowner, coalesce(m.lomacl, acldefault('L', m.lomowner)) FROM pg_largeobject_metadata m
    UNION ALL
    SELECT 'default ' || d.defaclobjtype::text, coalesce(n.nspname, '*'), d.defaclrole, d.defaclacl
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
), line(text) AS (
    SELECT format('%s %s belongs to %I', kind, name, pg_get_userbyid(owner)) FROM thing
    UNION ALL
    SELECT format('%s %s %s %s %s', kind, name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  a.privilege_type, a.is_grantable)
    FROM thing, aclexplode(acl) AS a
)
SELECT text FROM line GROUP BY text ORDER BY text COLLATE "C"
"""

# Roles that a restore needs to find: owners and grantees of anything in this database (nothing is recorded of the first superuser)
ROLES = f"""
SELECT r.rolname
FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname !~ '^pg_'
  AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION
SELECT pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
ORDER BY 1
"""
