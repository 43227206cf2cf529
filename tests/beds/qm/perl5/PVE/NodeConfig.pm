# A stand-in: a node's config as pve-manager's PVE/NodeConfig.pm reads and writes it, with what that takes of PVE::JSONSchema and PVE::Tools.
package PVE::Tools;

use strict;
use warnings;

sub file_get_contents {
    my ($path) = @_;
    open(my $file, '<', $path) or die "can't open '$path' - $!\n";
    local $/;
    return scalar(<$file>) // '';
}

$INC{'PVE/Tools.pm'} = __FILE__;

package PVE::NodeConfig;

use strict;
use warnings;

use Digest::SHA ();
use Encode ();
use Fcntl qw(:flock);

use PVE::Bed;

# Of the values that PVE checks; an option that it does not know it keeps.
my %VALUES = ('startall-onboot-delay' => qr/^(?:[0-9]|[1-9][0-9]|[12][0-9]{2}|300)$/, wakeonlan => qr/^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}/);
# Older ones leave % as it is.
my $SAFE = $PVE::Bed::RELEASE < 8.3 ? qr/[^\x20-\x39\x3b-\x7e]/ : qr/[^\x20-\x24\x26-\x39\x3b-\x7e]/;

sub encode_text {
    my $bytes = Encode::encode('utf8', $_[0]);
    return $bytes =~ s/($SAFE)/sprintf('%%%02X', ord($1))/ger;
}

sub decode_text {
    return Encode::decode('utf8', $_[0] =~ s/%([0-9A-Fa-f]{2})/chr(hex($1))/ger);
}

sub config_file {
    my ($node) = @_;
    return "$PVE::Bed::ROOT/etc/pve/nodes/$node/config";
}

sub load_config {
    my ($node) = @_;
    my $raw = eval { PVE::Tools::file_get_contents(config_file($node)) };
    return {} if !$raw;
    my $conf = {};
    my $notes = '';
    while ($raw =~ /^\s*(.+?)\s*$/gm) {
        my $line = $1;
        if ($line =~ /^\#(.*)\s*$/ || $line =~ /^description:\s*(.*\S)\s*$/) {
            $notes .= decode_text($1) . "\n";
        } elsif ($line =~ m/^(\S+?):\s*(.*)$/) {
            $conf->{$1} = $2;
        } else {
            warn "ignore config line: $line\n";
        }
    }
    $conf->{description} = $notes;
    for my $key (grep { $VALUES{$_} && $conf->{$_} !~ $VALUES{$_} } keys %$conf) {
        warn "parse error in '" . config_file($node) . "' - '$key': invalid format\n";
        delete $conf->{$key};
    }
    delete $conf->{description} if length($notes) > 64 * 1024;
    $conf->{digest} = Digest::SHA::sha1_hex($raw);
    return $conf;
}

sub write_node_config {
    my ($conf) = @_;
    my $raw = '';
    my $descr = $conf->{description} || '';
    foreach my $cl (split(/\n/, $descr)) {
        $raw .= '#' . encode_text($cl) . "\n";
    }
    for my $key (sort keys %$conf) {
        next if $key eq 'description' || $key eq 'digest';
        $raw .= "$key: $conf->{$key}\n";
    }
    return $raw;
}

sub write_config {
    my ($node, $conf) = @_;
    my $file = config_file($node);
    my $raw = write_node_config($conf);
    open(my $out, '>', "$file.tmp.$$") or die "unable to open file '$file.tmp.$$' - $!\n";
    print {$out} $raw;
    close($out) or die "closing file '$file.tmp.$$' failed - $!\n";
    rename("$file.tmp.$$", $file) or die "close (rename) atomic file '$file' failed: $!\n";
}

sub lock_config {
    my ($node, $code) = @_;
    open(my $lock, '>>', "$PVE::Bed::ROOT/var/lock/pvenode.lock") or die "can't open lock - $!\n";
    flock($lock, LOCK_EX) or die "can't lock file - $!\n";
    $code->();
}

1;
