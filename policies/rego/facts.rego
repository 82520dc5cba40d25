# What both policies ask of facts and paths.
package defenseclaw.facts

# The last component of a path.
basename(path) := parts[count(parts) - 1] if parts := split(path, "/")

# `path` is named by one of `known` (path facts), or lies below a folder that is.
named(known, path) if {
	some fact in known
	fact.path == path
}

named(known, path) if {
	some fact in known
	folder := trim_suffix(trim_suffix(fact.path, "*"), "/")
	startswith(path, concat("", [folder, "/"]))
}

# `program` logs in with what `path` holds: reading it is its purpose.
owns(program, path) if {
	some part in data.owners[program]
	contains(path, part)
}
