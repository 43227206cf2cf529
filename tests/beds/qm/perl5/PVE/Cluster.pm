# A stand-in: what pve-writer needs of pmxcfs. PVE::Bed, which the bed writes, says where it is and how `qm`'s stand-in is started.
package PVE::Cluster;

use strict;
use warnings;

use Digest::SHA ();
use IPC::Open2 ();
use JSON::PP ();

use PVE::Bed;

my $json = JSON::PP->new->ascii;
# The stand-in for qm is started once, and while the rest is loaded: PVE's own code needs no other process.
IPC::Open2::open2(my $from, my $to, @PVE::Bed::COMMAND);
$to->autoflush(1);

# A call of it: { stdout, stderr, pending, died }.
sub call {
    my ($request) = @_;
    $request->{argv} = [map { "$_" } @{ $request->{argv} }];
    print {$to} $json->encode($request) . "\n";
    my $line = <$from>;
    # It was killed, or ended, as it was told to.
    if (!defined($line)) {
        kill(9, $$);
        sleep(60);
    }
    my $answer = $json->decode($line);
    if (defined($answer->{raw})) {
        # Words on the descriptor that carries the answers.
        open(my $answers, '>&=', 3) or die "descriptor 3: $!\n";
        syswrite($answers, $answer->{raw});
        sleep(60);
    }
    warn "$_\n" for split(/\n(?=vm )/, $answer->{stderr} =~ s{\n\z}{}r);
    print $answer->{stdout} if $request->{argv}->[0] eq 'set';
    die $answer->{died} =~ s/^qm .*\n?//mr =~ s/\n*\z/\n/r if defined($answer->{died});
    return $answer;
}

my $is_there = sub { return -d "$PVE::Bed::ROOT/etc/pve/local/qemu-server/" };

sub cfs_update {
    return if $is_there->();
    warn "ipcc_send_rec[$_] failed: Connection refused\n" for 1 .. 3;
}

sub get_config {
    my ($path) = @_;
    die "Connection refused\n" if !$is_there->();
    open(my $file, '<', "$PVE::Bed::ROOT/etc/pve/$path") or return undef;
    local $/;
    return scalar(<$file>) // '';
}

sub cfs_file_version {
    return (1, { parser => \&parse });
}

sub parse {
    my ($path, $raw) = @_;
    my ($vmid) = $path =~ m{(\d+)\.conf$};
    # What is asked for, and not what an update looks at for itself, is a call of `qm config`.
    my $quiet = (caller(2))[3] ne 'main::serve';
    my $answer = call({ argv => ['config', $vmid, '--current'], quiet => $quiet ? 1 : 0 });
    my %conf = map { split(/: /, $_, 2) } grep { /: / } split(/\n/, $answer->{stdout});
    return { %conf, digest => Digest::SHA::sha1_hex($raw), pending => $answer->{pending}, snapshots => {} };
}

1;
