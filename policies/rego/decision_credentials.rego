# Secrets that a call would read, and where they would go.
package defenseclaw.decision

import data.defenseclaw.facts

holds_secret(class) if data.classes[class].secret

holds_secret(class) if class == "credential-folder"

secret_reads := [read |
	not data.lists.listing_tools[input.tool]
	some read in classed_reads
	holds_secret(read.class)
]

secret_paths := [read.path | some read in secret_reads]

host_names := [host.host | some host in input.facts.hosts]

reaches_network if count(host_names) > 0

reaches_network if {
	some program in input.facts.programs
	data.lists.network_programs[program.name]
}

credentials_objections contains {
	"rule": "credential.read",
	"category": "secret",
	"verdict": "deny",
	"severity": "HIGH",
	"message": sprintf("%s would read %s, %s", [input.tool, read.path, data.classes[read.class].description]),
	"remedy": "Use the tool that logs in with it by itself, or ask the person for what is needed",
	"evidence": secret_paths,
	"confidence": 90,
} if {
	read := secret_reads[0]
}

credentials_objections contains {
	"rule": "credential.to-network",
	"category": "exfiltration",
	"verdict": "deny",
	"severity": "CRITICAL",
	"message": sprintf("%s would read %s, %s, and reach the network in the same call", [input.tool, read.path, data.classes[read.class].description]),
	"remedy": "Credentials are not sent anywhere; ask the person if a service needs one",
	"evidence": array.concat(secret_paths, host_names),
	"confidence": 95,
} if {
	read := secret_reads[0]
	reaches_network
}

env_paths := [read.path | some read in classed_reads; read.class == "env-file"]

# Loading an environment file into a process (`source .env`, `docker --env-file`) shows it to nobody.
shows_env_file if input.call_kind.kind != "command"

shows_env_file if {
	some path in env_paths
	some program in input.facts.programs
	not data.lists.env_loaders[program.name]
	some word in array.slice(program.argv, 1, count(program.argv))
	contains(word, facts.basename(path))
}

credentials_objections contains {
	"rule": "credential.env-file",
	"category": "secret",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": sprintf("%s would show the content of %s, %s", [input.tool, env_paths[0], data.classes["env-file"].description]),
	"remedy": "Read the example file beside it, or ask the person which names are set",
	"evidence": env_paths,
	"confidence": 80,
} if {
	count(env_paths) > 0
	not data.lists.listing_tools[input.tool]
	shows_env_file
}

credentials_objections contains {
	"rule": "credential.process-secrets",
	"category": "secret",
	"verdict": "ask",
	"severity": "HIGH",
	"message": sprintf("%s would read %s, %s", [input.tool, read.path, data.classes[read.class].description]),
	"remedy": "Say which variable is needed, and let the person give it",
	"evidence": [read.path],
	"confidence": 80,
} if {
	some read in classed_reads
	read.class == "process-secrets"
}
