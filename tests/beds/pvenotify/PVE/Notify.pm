package PVE::Notify;

# A stand-in for libpve-notify-perl and proxmox-notify: it renders the templates that are installed, hands the message to each target in
# /etc/pve/notifications.cfg, a line each (`webhook NAME URL`, `sendmail NAME`), logs what became of it as proxmox-notify does, and dies as
# PVE does where pmxcfs does not answer.
use strict;
use warnings;

use HTTP::Tiny ();
use JSON::PP ();

my @DIRECTORIES = ('/etc/pve/notification-templates/default', '/usr/share/pve-manager/templates/default');

sub common_template_data {
    return { hostname => 'pve1', fqdn => 'pve1.example.com' };
}

sub template {
    my ($name) = @_;
    for my $directory (@DIRECTORIES) {
        open(my $file, '<', "$directory/$name.hbs") or next;
        local $/;
        return <$file>;
    }
    die "failed to render notification template: no $name.hbs\n";
}

sub escaped {
    my ($text) = @_;
    my %of = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;', "'" => '&#x27;');
    return $text =~ s/([&<>"'])/$of{$1}/gr;
}

# What of Handlebars the templates need: {{{name}}}, {{name}}, {{#each name}} ... {{/each}}, and Proxmox VE's {{#verbatim}} ... {{/verbatim}}.
sub render {
    my ($text, $data, $is_html) = @_;
    $text =~ s/^[ \t]*(\{\{[#\/][^}]*\}\})[ \t]*\n/$1/mg;
    my ($before, $behind) = $is_html ? ('<pre>', '</pre>') : ('', '');
    $text =~ s/\{\{#verbatim\}\}(.*?)\{\{\/verbatim\}\}/$before$1$behind/gs;
    my $nested;
    $nested = qr/\{\{#each ([\w-]+)\}\}((?:(?!\{\{[#\/]each).|(??{$nested}))*)\{\{\/each\}\}/s;
    $text =~ s/$nested/my ($name, $part) = ($1, $2); join('', map { render($part, $_, $is_html) } @{ $data->{$name} \/\/ [] })/ge;
    $text =~ s/\{\{\{([\w-]+)\}\}\}/$data->{$1} \/\/ ''/ge;
    $text =~ s/\{\{([\w-]+)\}\}/$is_html ? escaped($data->{$1} \/\/ '') : $data->{$1} \/\/ ''/ge;
    return $text;
}

sub deliver {
    my ($kind, $url, $message) = @_;
    if ($kind eq 'webhook') {
        my $answer = HTTP::Tiny->new(timeout => 5)->post($url, { content => JSON::PP->new->utf8->canonical->encode($message) });
        die "$answer->{status} $answer->{reason}\n" if !$answer->{success};
    } elsif ($kind eq 'sendmail') {
        open(my $mail, '|-', '/usr/sbin/sendmail', '-B', '8BITMIME', '-f', 'root', '--', 'admin@example.com') or die "sendmail: $!\n";
        binmode($mail, ':utf8');
        print {$mail} "Subject: $message->{subject}\n\n$message->{text}";
        close($mail) or die "sendmail ended with $?\n";
    }
}

sub notify {
    my ($severity, $template_name, $template_data, $fields, $config) = @_;
    my %texts = map { $_ => template("$template_name-$_") } ('subject.txt', 'body.txt', 'body.html');
    send_rendered($severity, \%texts, $template_data, $fields);
}

sub send_rendered {
    my ($severity, $texts, $data, $fields) = @_;
    for my $value (values %$fields) {
        die "invalid type: expected a string\n" if ref($value) || !defined($value);
    }
    open(my $config, '<', '/etc/pve/notifications.cfg') or die "ipcc_send_rec[1] failed: Connection refused\n";
    while (my $line = <$config>) {
        my ($kind, $target, $url) = split(' ', $line);
        eval {
            my $message = {
                subject => render($texts->{'subject.txt'}, $data) =~ s/\s+$//r,
                text => render($texts->{'body.txt'}, $data),
                html => render($texts->{'body.html'}, $data, 1),
                severity => $severity,
                fields => $fields,
            };
            deliver($kind, $url, $message);
            1;
        } and print STDERR "INFO: notified via target `$target`\n"
            or print STDERR "ERROR: could not notify via target `$target`: $@";
    }
}

1;
