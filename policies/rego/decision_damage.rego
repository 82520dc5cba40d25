# What cannot be undone.
package defenseclaw.decision

recursive(program) if {
	some word in program.argv
	word == "--recursive"
}

recursive(program) if {
	some word in program.argv
	startswith(word, "-")
	not startswith(word, "--")
	some letter in ["r", "R"]
	contains(word, letter)
}

recursive(program) if {
	program.name == "find"
	"-delete" in program.argv
}

wipes if {
	some program in suspects
	data.lists.wipe_programs[program.name]
	recursive(program)
}

# `rm -rf /*` and `rm -rf ~/*` are as bad as the folder itself.
emptied(path) := trim_suffix(trim_suffix(path, "*"), "/") if endswith(path, "/*")

tree(fact) if fact.class == "system-tree"

tree(fact) if fact.class == "credential-folder"

tree(fact) if data.lists.system_folders[emptied(fact.path)]

tree(fact) if {
	parts := split(emptied(fact.path), "/")
	count(parts) == 3
	parts[1] == "home"
}

# However the home folder is called here.
home_word := {"~", "~/", "~/*", "$HOME", "$HOME/", "$HOME/*", "${HOME}", "${HOME}/", "${HOME}/*", "\"$HOME\"", "\"$HOME\"/*", "\"${HOME}\""}

wiped contains fact.path if {
	wipes
	some fact in input.facts.writes
	tree(fact)
}

wiped contains word if {
	some program in suspects
	data.lists.wipe_programs[program.name]
	recursive(program)
	some word in program.argv
	word in home_word
}

damage_objections contains {
	"rule": "damage.system-tree",
	"category": "destructive",
	"verdict": "deny",
	"severity": "CRITICAL",
	"message": sprintf("this would delete %s and everything below it", [paths[0]]),
	"remedy": "Name the files or the project folder that is to go",
	"evidence": paths,
	"confidence": 95,
} if {
	paths := [path | some path in wiped]
	count(paths) > 0
}

formats(program) if startswith(program.name, "mkfs")

formats(program) if program.name in {"wipefs", "blkdiscard", "sfdisk", "mkswap"}

disks := [fact.path | some fact in input.facts.writes; fact.class == "block-device"]

formatted := [word |
	some program in suspects
	formats(program)
	some word in program.argv
	startswith(word, "/dev/")
]

damage_objections contains {
	"rule": "damage.disk",
	"category": "destructive",
	"verdict": "deny",
	"severity": "CRITICAL",
	"message": sprintf("this would overwrite the disk %s", [targets[0]]),
	"remedy": "Work on an image file instead, or let the person do it",
	"evidence": targets,
	"confidence": 95,
} if {
	targets := array.concat(disks, formatted)
	count(targets) > 0
}

damage_objections contains {
	"rule": "damage.permissions",
	"category": "destructive",
	"verdict": "ask",
	"severity": "HIGH",
	"message": sprintf("this would change owner or mode of everything below %s", [word]),
	"remedy": "Name the files whose mode is to change",
	"evidence": [word],
	"confidence": 85,
} if {
	some program in suspects
	data.lists.mode_programs[program.name]
	recursive(program)
	some word in program.argv
	protected_folder(word)
}

protected_folder(word) if word == "/"

protected_folder(word) if data.lists.system_folders[trim_suffix(word, "/")]

protected_folder(word) if word in home_word

damage_objections contains {
	"rule": "damage.fork-bomb",
	"category": "destructive",
	"verdict": "deny",
	"severity": "HIGH",
	"message": "this starts processes without end",
	"remedy": "Bound the number of processes",
	"evidence": [],
	"confidence": 90,
} if {
	some pipe in input.facts.pipes
	program_name(pipe.from) == ":"
	program_name(pipe.to) == ":"
}
