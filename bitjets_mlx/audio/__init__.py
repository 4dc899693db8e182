"""Sound: files, STFT and mel, pitch, Griffin-Lim. Conventions are those of the official HiFi-GAN."""
