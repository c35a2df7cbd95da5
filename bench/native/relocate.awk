# SPDX-License-Identifier: GPL-2.0
#
# Reads what objdump makes of a piece of text, and prints a line of C for each
# relative reference: where its four bytes are, what they are relative to, and the
# address that is meant.

# "  ffffffff81234567:<tab>e8 01 02 03 04 <tab>call   0xffffffff8..."
$1 ~ /:$/ {
	at = $1
	gsub(/[ :]/, "", at)
	n = split($2, bytes, " ")
	target = ""
	if ($3 ~ /^(call|jmp|j[a-z]+) +0x/) {
		# Short jumps stay within the piece
		if (n < 5)
			next
		target = $3
		sub(/^[a-z]+ +/, "", target)
		sub(/ .*/, "", target)
	} else if ($3 ~ /# 0x/ && $3 ~ /\(%rip\)/ && $3 ~ /^mov +0x/) {
		target = $3
		sub(/.*# /, "", target)
	}
	if (target == "")
		next
	printf "{ \"%s\", \"%s\", 0x%s - %s + %d, %s },\n", way, piece, at, base, n - 4, target
}
