# The node's directory below /etc/pve: _pvehooks_node ROOT NODE
_pvehooks_node() {
	if [[ -n $2 ]]; then
		printf '%s\n' "$1/etc/pve/nodes/$2"
	else
		printf '%s\n' "$1/etc/pve/local"
	fi
}

# The VMIDs of the node's guests: _pvehooks_vmids ROOT NODE
_pvehooks_vmids() {
	local file
	while read -r file; do
		file=${file##*/}
		[[ $file =~ ^[1-9][0-9]{2,8}\.conf$ ]] && printf '%s\n' "${file%.conf}"
	done < <(compgen -G "$(_pvehooks_node "$1" "$2")/qemu-server/*.conf")
}

# The VMIDs of the node's guests whose config has a line of that kind: _pvehooks_vmids_with PATTERN ROOT NODE
_pvehooks_vmids_with() {
	local vmid
	while read -r vmid; do
		! grep -qE -- "$1" "$(_pvehooks_node "$2" "$3")/qemu-server/$vmid.conf" 2>/dev/null || printf '%s\n' "$vmid"
	done < <(_pvehooks_vmids "$2" "$3")
}

# The digests of a guest's backups, of all guests while none is named: _pvehooks_digests ROOT VMID
_pvehooks_digests() {
	local file
	while read -r file; do
		file=${file##*-}
		printf '%s\n' "${file%.conf}"
	done < <(compgen -G "$1@BACKUPS@/${2:-*}-*.conf")
}

# The nodes: _pvehooks_nodes ROOT
_pvehooks_nodes() {
	local directory
	while read -r directory; do
		printf '%s\n' "${directory##*/}"
	done < <(compgen -G "$1/etc/pve/nodes/*")
}

# The storages: _pvehooks_storages ROOT
_pvehooks_storages() {
	local kind name
	printf 'local\n'
	while read -r kind name; do
		[[ $kind != *: || $name == local ]] || printf '%s\n' "$name"
	done < <(cat "$1/etc/pve/storage.cfg" 2>/dev/null)
}

# The firmware images of the storages that are directories: _pvehooks_images ROOT
_pvehooks_images() {
	local key value name=local file
	while read -r key value; do
		if [[ $key == *: ]]; then
			name=$value
		elif [[ $key == path ]]; then
			while read -r file; do
				printf '%s\n' "$name:efi-firmware/${file##*/}"
			done < <(compgen -G "$1$value/efi-firmware/*")
		fi
	done < <(
		grep -q '^dir: local$' "$1/etc/pve/storage.cfg" 2>/dev/null || printf 'path /var/lib/vz\n'
		cat "$1/etc/pve/storage.cfg" 2>/dev/null
	)
}

# The addresses of the PCI devices that are no bridges: _pvehooks_addresses ROOT
_pvehooks_addresses() {
	local directory class
	while read -r directory; do
		read -r class 2>/dev/null <"$directory/class" || class=
		[[ $class == 0x0604* ]] || printf '%s\n' "${directory##*/}"
	done < <(compgen -G "$1/sys/bus/pci/devices/*")
}

# The releases of the kernels that are installed: _pvehooks_kernels ROOT
_pvehooks_kernels() {
	local image
	while read -r image; do
		printf '%s\n' "${image##*/vmlinuz-}"
	done < <(compgen -G "$1/boot/vmlinuz-*")
}

# Proposes the lines that begin as the word being typed and are one word of plain characters. Others than root name files on a storage,
# and compgen -W would run what stands in $(...) there: _pvehooks_match LINES WORD
_pvehooks_match() {
	local each
	COMPREPLY=()
	while read -r each; do
		[[ -z $each || $each == *[!A-Za-z0-9_.:+=/-]* || $each != "$2"* ]] || COMPREPLY+=("$each")
	done <<<"$1"
}

# Proposes what is left to be typed of a word with colons. Bash takes "0000:01:00.0" for five words, of which only the last is replaced:
# _pvehooks_propose_with_colons WORDS
_pvehooks_propose_with_colons() {
	local typed=${COMP_WORDS[COMP_CWORD]} i=$COMP_CWORD
	while ((i > 1)) && [[ ${COMP_WORDS[i]} == : || ${COMP_WORDS[i - 1]} == : ]]; do
		i=$((i - 1))
		typed=${COMP_WORDS[i]}$typed
	done
	_pvehooks_match "$1" "$typed"
	[[ $typed != *:* ]] || COMPREPLY=("${COMPREPLY[@]#"${typed%:*}:"}")
}

# Proposes words of a kind that begin as the one being typed: _pvehooks_propose KIND WORD ROOT NODE VMID
_pvehooks_propose() {
	local words=
	case $1 in
	directory)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$2")
		return
		;;
	file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$2")
		return
		;;
	address)
		_pvehooks_propose_with_colons "$(_pvehooks_addresses "$3")"
		return
		;;
	image)
		_pvehooks_propose_with_colons "$(_pvehooks_images "$3")"
		return
		;;
	guest) words=$(_pvehooks_vmids "$3" "$4") ;;
	node) words=$(_pvehooks_nodes "$3") ;;
	kernel) words=$(_pvehooks_kernels "$3") ;;
	digest) words=$(_pvehooks_digests "$3" "$5") ;;
	passing) words=$(_pvehooks_vmids_with '^hostpci|^args:.*pvehooks-firmware' "$3" "$4") ;;
	guarded) words=$(_pvehooks_vmids_with '^hookscript:.*pvehooks-guard' "$3" "$4") ;;
	rule) words=${_pvehooks_rules// /$'\n'} ;;
	fixable) words=${_pvehooks_fixable// /$'\n'} ;;
	verb) words=${_pvehooks_verbs// /$'\n'} ;;
	guest-or-file) words=$(_pvehooks_vmids "$3" "$4") ;;
	action) words=$(_pvehooks_actions "$5") words=${words// /$'\n'} ;;
	option) words=$(_pvehooks_options "$5") words=${words// /$'\n'} ;;
	storage) words=$(_pvehooks_storages "$3") ;;
	=*) words=${1//=/$'\n'} ;;
	esac
	_pvehooks_match "$words" "$2"
	if [[ $1 == guest-or-file ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2")
	fi
}

_pvehooks() {
	local word=${COMP_WORDS[COMP_CWORD]} each verb='' expected='' root='' node='' vmid='' given=0 i
	COMPREPLY=()
	# Bash takes "--root=DIR" for three words.
	[[ $word != = ]] || word=
	for ((i = 1; i < COMP_CWORD; i++)); do
		each=${COMP_WORDS[i]}
		if [[ $each == = ]]; then
			continue
		elif [[ $each == -* ]]; then
			expected=$(_pvehooks_value "$each")
		elif [[ -n $expected ]]; then
			case $expected in
			directory) root=${each/#\~/$HOME} root=${root%/} ;;
			node) node=$each ;;
			esac
			expected=
		elif [[ -z $verb ]]; then
			verb=$each
			[[ $verb != help ]] || verb=
		elif [[ -n $(_pvehooks_actions "$verb") ]]; then
			verb+=" $each"
		else
			given=$((given + 1))
			vmid=$each
		fi
	done
	if [[ $word == -* ]]; then
		_pvehooks_propose option "$word" "$root" "$node" "$verb"
	elif [[ -n $expected ]]; then
		_pvehooks_propose "$expected" "$word" "$root" "$node" "$vmid"
	elif [[ -z $verb ]]; then
		_pvehooks_propose verb "$word"
	elif [[ -n $(_pvehooks_actions "$verb") ]]; then
		_pvehooks_propose action "$word" "$root" "$node" "$verb"
	else
		_pvehooks_propose "$(_pvehooks_argument "$verb" "$given")" "$word" "$root" "$node"
	fi
}

complete -F _pvehooks pvehooks
